package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	okms "github.com/ovh/okms-sdk-go"
	"github.com/ovh/okms-sdk-go/types"
)

// nobody is an id that nothing has.
var nobody = uuid.MustParse("00000000-0000-4000-8000-00000000dead")

// call is one of the client's, with arguments that the service takes.
type call struct {
	name string
	err  error
	id   string
}

// callsOfKeys makes every call about a key.
func callsOfKeys(c okms.API, domain, id uuid.UUID) []call {
	var made []call
	add := func(name string, err error) { made = append(made, call{name, err, lastRequestId}) }
	_, err := c.GetServiceKey(ctx, domain, id, nil)
	add("GetServiceKey", err)
	_, err = c.UpdateServiceKey(ctx, domain, id, types.PatchServiceKeyRequest{Name: "n"})
	add("UpdateServiceKey", err)
	add("ActivateServiceKey", c.ActivateServiceKey(ctx, domain, id))
	add("DeactivateServiceKey", c.DeactivateServiceKey(ctx, domain, id, types.Unspecified))
	add("DeleteServiceKey", c.DeleteServiceKey(ctx, domain, id))
	_, err = c.Encrypt(ctx, domain, id, "", []byte("x"))
	add("Encrypt", err)
	_, err = c.Decrypt(ctx, domain, id, "", "a..b.c.d")
	add("Decrypt", err)
	_, _, err = c.GenerateDataKey(ctx, domain, id, "n", 256)
	add("GenerateDataKey", err)
	_, err = c.DecryptDataKey(ctx, domain, id, "a..b.c.d")
	add("DecryptDataKey", err)
	_, err = c.Sign(ctx, domain, id, nil, types.ES256, false, []byte("x"))
	add("Sign", err)
	_, err = c.Verify(ctx, domain, id, types.ES256, false, []byte("x"), "c2lnbmF0dXJl")
	add("Verify", err)
	return made
}

// callsOfAll makes every call that there is.
func callsOfAll(c okms.API, domain uuid.UUID) []call {
	made := callsOfKeys(c, domain, nobody)
	add := func(name string, err error) { made = append(made, call{name, err, lastRequestId}) }
	const path = "refused/path"
	_, err := c.CreateImportServiceKey(ctx, domain, nil, types.CreateImportServiceKeyRequest{Name: "n"})
	add("CreateImportServiceKey", err)
	_, err = c.ListServiceKeys(ctx, domain, nil, nil, nil)
	add("ListServiceKeys", err)
	_, err = c.GetSecretConfig(ctx, domain)
	add("GetSecretConfig", err)
	add("PostSecretConfig", c.PostSecretConfig(ctx, domain, types.PostConfigRequest{}))
	_, err = c.GetSecretRequest(ctx, domain, path, nil)
	add("GetSecretRequest", err)
	_, err = c.GetSecretSubkeys(ctx, domain, path, nil, nil)
	add("GetSecretSubkeys", err)
	_, err = c.PostSecretRequest(ctx, domain, path, types.PostSecretRequest{Data: data{}})
	add("PostSecretRequest", err)
	_, err = c.PatchSecretRequest(ctx, domain, path, types.PostSecretRequest{Data: data{}})
	add("PatchSecretRequest", err)
	add("DeleteSecretRequest", c.DeleteSecretRequest(ctx, domain, path))
	add("DeleteSecretVersions", c.DeleteSecretVersions(ctx, domain, path, []uint32{1}))
	add("PutSecretDestroy", c.PutSecretDestroy(ctx, domain, path, []uint32{1}))
	add("PostSecretUndelete", c.PostSecretUndelete(ctx, domain, path, []uint32{1}))
	_, err = c.GetSecretsMetadata(ctx, domain, path, true)
	add("GetSecretsMetadata", err)
	add("PatchSecretMetadata", c.PatchSecretMetadata(ctx, domain, path, types.SecretUpdatableMetadata{}))
	add("PostSecretMetadata", c.PostSecretMetadata(ctx, domain, path, types.SecretUpdatableMetadata{}))
	add("DeleteSecretMetadata", c.DeleteSecretMetadata(ctx, domain, path))
	_, err = c.ListSecretV2(ctx, domain, nil, nil)
	add("ListSecretV2", err)
	_, err = c.PostSecretV2(ctx, domain, types.PostSecretV2Request{Path: path, Version: types.SecretV2VersionShort{Data: &data{}}})
	add("PostSecretV2", err)
	add("DeleteSecretV2", c.DeleteSecretV2(ctx, domain, path))
	_, err = c.GetSecretV2(ctx, domain, path, nil, nil)
	add("GetSecretV2", err)
	_, err = c.PutSecretV2(ctx, domain, path, nil, types.PutSecretV2Request{Metadata: &types.SecretV2MetadataShort{}})
	add("PutSecretV2", err)
	_, err = c.ListSecretVersionV2(ctx, domain, path, nil, nil)
	add("ListSecretVersionV2", err)
	_, err = c.PostSecretVersionV2(ctx, domain, path, nil, types.PostSecretVersionV2Request{Data: &data{}})
	add("PostSecretVersionV2", err)
	_, err = c.GetSecretVersionV2(ctx, domain, path, 1, nil)
	add("GetSecretVersionV2", err)
	_, err = c.PutSecretVersionV2(ctx, domain, path, 1, types.PutSecretVersionV2Request{State: types.SecretV2StateActive})
	add("PutSecretVersionV2", err)
	_, err = c.GetSecretConfigV2(ctx, domain)
	add("GetSecretConfigV2", err)
	_, err = c.PutSecretConfigV2(ctx, domain, types.PutSecretConfigV2Request{})
	add("PutSecretConfigV2", err)
	return made
}

// allRefused checks that each of these calls was refused with this.
func allRefused(who string, made []call, status int, code okms.ErrorCode) {
	for _, each := range made {
		lastRequestId = each.id
		refused(who+": "+each.name, each.err, status, code)
	}
}

// crowd asks more than a host takes of those whom it does not know. A machine that is too slow for that is not looked at.
func crowd(s *session) {
	hasty, seen := s.seen(s.trust(), "", &okms.RetryConfig{})
	var lock sync.Mutex
	var turnedAway error
	var all sync.WaitGroup
	for range 32 {
		all.Add(1)
		go func() {
			defer all.Done()
			for range 100 {
				_, err := hasty.GetSecretConfig(ctx, s.domain)
				lock.Lock()
				if okms.ErrStatusCode(err) == 429 {
					turnedAway = err
				}
				over := turnedAway != nil
				lock.Unlock()
				if over {
					return
				}
			}
		}()
	}
	all.Wait()
	if turnedAway == nil {
		return
	}
	lastRequestId = okms.AsKmsError(turnedAway).RequestId
	refused("one of too many", turnedAway, 429, tooManyRequests)
	holds("one of too many is asked once", seen.tooMany > 0)
	// Whoever asks again when told to is answered.
	fast := &okms.RetryConfig{RetryMax: 8, RetryWaitMin: 100 * time.Millisecond, RetryWaitMax: time.Second}
	waits, answered := s.seen(s.trust(), "", fast)
	for range 400 {
		if _, err := waits.GetSecretConfig(ctx, s.domain); okms.ErrStatusCode(err) != 401 {
			fail("a crowd that waits", "%v", err)
		}
		if answered.tooMany > 0 {
			break
		}
	}
	checks++
	of(s.GetSecretConfig(ctx, s.domain)).must("whom it knows is served all the while")
}

// refusals are told in the service's words, which the client takes apart.
func refusals(s *session) {
	allRefused("a key that there is not", callsOfKeys(s, s.domain, nobody), 404, keyNotFound)
	of(s.ExportPublicKey(ctx, s.domain, nobody)).refused("the public half of nothing", 404, keyNotFound)
	of(s.NewSigner(ctx, s.domain, nobody)).refused("a signer of nothing", 404, keyNotFound)
	_, _, _, err := s.DataKeys(s.domain, nobody).EncryptGCM(ctx, "n", []byte("x"), nil)
	refused("a data key of nothing", err, 404, keyNotFound)
	told := of(s.GetServiceKey(ctx, s.domain, nobody, nil)).refused("words", 404, keyNotFound)
	same("words: code", told.ErrorCode.String(), "Code=17190913, System=CCM, Component=MOB Manager, Category=Not Found")
	same("words: parts", [2]any{told.ErrorCode.Major(), told.ErrorCode.Category()}, [2]any{okms.MajorCCM, okms.CategoryNotFound})
	same("words: id", told.ErrorId, "key_not_found")
	holds("words: they tell the request", strings.Contains(told.Error(), told.RequestId))

	// The client has no words for protection levels: its lower half takes any.
	hsm := `{"name":"hsm","type":"oct","size":256,"protectionLevel":"HSM"}`
	answered := of(s.internal().CreateImportServiceKeyWithBody(ctx, s.domain, nil, "application/json", strings.NewReader(hsm))).must("HSM")
	inWords := okms.NewKmsErrorFromBytes(body("HSM", answered, 501))
	same("HSM: code", value("HSM", inWords).ErrorCode, notOffered)
	software := strings.Replace(hsm, "HSM", "SOFTWARE", 1)
	answered = of(s.internal().CreateImportServiceKeyWithBody(ctx, s.domain, nil, "application/json", strings.NewReader(software))).must("SOFTWARE")
	body("SOFTWARE", answered, 201)

	of(s.GenerateSymmetricKey(ctx, s.domain, types.N256, "", "")).refused("no name", 400, badArgument)
	of(s.GenerateSymmetricKey(ctx, s.domain, types.N256, strings.Repeat("n", 33), "")).refused("a long name", 400, badArgument)
	of(s.GenerateSymmetricKey(ctx, s.domain, types.N256, "n", strings.Repeat("c", 65))).refused("a long context", 400, badArgument)
	of(s.GenerateSymmetricKey(ctx, s.domain, types.N2048, "n", "")).refused("a symmetric key of 2048 bits", 400, badArgument)
	of(s.GenerateRSAKeyPair(ctx, s.domain, types.N256, "n", "")).refused("RSA of 256 bits", 400, badArgument)
	of(s.GenerateECKeyPair(ctx, s.domain, "P-224", "n", "")).refused("P-224", 400, badArgument)
	of(s.GenerateECKeyPair(ctx, s.domain, types.P256, "n", "", types.Encrypt)).refused("a curve that encrypts", 400, badArgument)
	of(s.GenerateRSAKeyPair(ctx, s.domain, types.N2048, "n", "", types.Sign, types.WrapKey)).refused("RSA for both", 400, badArgument)
	held := of(s.GenerateECKeyPair(ctx, s.domain, types.P256, "held", "", signs...)).must("a pair").Id
	text := []byte("x")
	signature := of(s.Sign(ctx, s.domain, held, nil, types.ES256, false, text)).must("signed")
	signer := of(s.NewSigner(ctx, s.domain, held)).must("signer")
	done("deactivated", s.DeactivateServiceKey(ctx, s.domain, held, types.Superseded))
	of(s.Sign(ctx, s.domain, held, nil, types.ES256, false, text)).refused("a deactivated pair signs nothing", 409, wrongState)
	holds("what it has signed is still verified", of(s.Verify(ctx, s.domain, held, types.ES256, false, text, signature)).must("verified"))
	of(signer.Sign(nil, hashed(hashes["256"], text), hashes["256"])).refused("nor does its signer", 409, wrongState)
	done("deleted", s.DeleteServiceKey(ctx, s.domain, held))
	of(s.Verify(ctx, s.domain, held, types.ES256, false, text, signature)).refused("a destroyed pair verifies nothing", 409, wrongState)

	keys := s.lists(nil)
	// Whoever is nobody here, or not allowed anything, is refused whatever is asked.
	all := func(who string, config *tls.Config, token string, domain uuid.UUID, status int, code okms.ErrorCode) {
		allRefused(who, callsOfAll(s.other(config, token), domain), status, code)
	}
	all("no certificate and no token", s.trust(), "", s.domain, 401, unauthorized)
	all("a token that is none", s.trust(), "nonsense", s.domain, 401, unauthorized)
	if s.tokens == "" {
		all("a domain that is another's", s.certificate(), "", nobody, 403, forbidden)
	} else {
		all("a certificate that no policy names", s.certificate(), "", s.domain, 403, forbidden)
		all("a token that no policy names", s.trust(), s.token("stranger"), s.domain, 403, forbidden)
		all("a token of another key", s.trust(), s.token("forged"), s.domain, 401, unauthorized)
		all("a certificate beside a token that no policy names", s.certificate(), s.token("stranger"), s.domain, 403, forbidden)
		all("a token in a domain that there is not", s.trust(), s.token("allowed"), nobody, 401, unauthorized)
	}
	var asked []string
	for _, each := range callsOfAll(s.other(s.trust(), ""), s.domain) {
		asked = append(asked, each.name)
	}
	for name := range methods(reflect.TypeFor[okms.API]()) {
		holds(name+" was tried by strangers", name == "SetCustomHeader" || slices.Contains(asked, name))
	}
	same("no secret came of what strangers tried", len(of(s.ListSecretV2(ctx, s.domain, nil, nil)).must("secrets").ListSecretV2Response), 0)
	same("nor a key", s.lists(nil), keys)

	crowd(s)

	over, cancel := context.WithCancel(ctx)
	cancel()
	of(s.GetServiceKey(over, s.domain, nobody, nil)).bad("a call that was given up")
	holds("an error of nothing", okms.AsKmsError(nil) == nil && okms.ErrStatusCode(fmt.Errorf("of another")) == 0)
	holds("what is no error of the service", okms.NewKmsErrorFromBytes([]byte("nonsense")) == nil)
}
