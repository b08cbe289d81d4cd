module kms-clients-sdk

go 1.24.0

require (
	github.com/google/uuid v1.6.0
	github.com/ovh/okms-sdk-go v0.5.1
	golang.org/x/crypto v0.42.0
)

require (
	github.com/apapsch/go-jsonmerge/v2 v2.0.0 // indirect
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.8 // indirect
	github.com/oapi-codegen/runtime v1.1.2 // indirect
	golang.org/x/sys v0.36.0 // indirect
)
