package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"

	okms "github.com/ovh/okms-sdk-go"
)

// Errors of the service: docs/rest.md, docs/secrets.md.
const (
	badArgument     okms.ErrorCode = 50561025
	decryptFailed   okms.ErrorCode = 50561026
	notOfTheKey     okms.ErrorCode = 50561027
	notOffered      okms.ErrorCode = 50561028
	unauthorized    okms.ErrorCode = 50475011
	forbidden       okms.ErrorCode = 50479105
	keyNotFound     okms.ErrorCode = 17190913
	domainNotFound  okms.ErrorCode = 16994305
	tooManyRequests okms.ErrorCode = 50434049
	conflict        okms.ErrorCode = 50438145
	wrongState      okms.ErrorCode = 50569217
	casMismatch     okms.ErrorCode = 50626561
	casRequired     okms.ErrorCode = 50626562
	secretNotFound  okms.ErrorCode = 17125377
	versionNotFound okms.ErrorCode = 17125378
	versionDeleted  okms.ErrorCode = 50634753
)

// checks counts what was looked at and found right.
var checks int

// quirks are what the client was seen to do, and the service cannot help.
var quirks = map[string]bool{}

// fail ends the program with what is wrong.
func fail(what, format string, told ...any) {
	fmt.Printf("%s: %s\n", what, fmt.Sprintf(format, told...))
	os.Exit(1)
}

// holds checks that something is so.
func holds(what string, so bool) {
	if !so {
		fail(what, "is not so")
	}
	checks++
}

// same checks that what was found is what must be. Nothing secret goes in here: both are printed.
func same(what string, found, wanted any) {
	if !reflect.DeepEqual(found, wanted) {
		fail(what, "%s, not %s", shown(found), shown(wanted))
	}
	checks++
}

// shown is a value for people, as JSON, and not all of a long one.
func shown(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		text = fmt.Appendf(nil, "%+v", value)
	}
	if len(text) > 600 {
		text = fmt.Appendf(text[:600], "... (%d bytes)", len(text))
	}
	return string(text)
}

// equal is same for what may be secret: of neither more than its length is printed.
func equal(what string, found, wanted []byte) {
	if !bytes.Equal(found, wanted) {
		fail(what, "%d bytes, not those %d that must be", len(found), len(wanted))
	}
	checks++
}

// differ checks that two things that may be secret are not the same.
func differ(what string, one, other []byte) {
	holds(what+": differ", !bytes.Equal(one, other))
}

// done checks that a call went well.
func done(what string, err error) {
	if err != nil {
		fail(what, "%v", err)
	}
	checks++
}

// answer is what a call came back with.
type answer[T any] struct {
	value T
	err   error
}

// of takes both results of a call.
func of[T any](value T, err error) answer[T] { return answer[T]{value, err} }

// must checks that the call went well and that the client could read what it was answered: where it cannot, it says nothing and gives nil.
func (a answer[T]) must(what string) T {
	done(what, a.err)
	if value := reflect.ValueOf(a.value); value.Kind() == reflect.Pointer && value.IsNil() {
		fail(what, "the client could read nothing in what it was answered")
	}
	return a.value
}

// refused checks that the call was refused by the service, with this status and code.
func (a answer[T]) refused(what string, status int, code okms.ErrorCode) *okms.KmsError {
	if a.err == nil {
		fail(what, "is answered, and should be refused with %d", status)
	}
	return refused(what, a.err, status, code)
}

// bad checks that the client itself refuses, without an answer of the service.
func (a answer[T]) bad(what string) {
	bad(what, a.err)
}

func bad(what string, err error) {
	if err == nil {
		fail(what, "goes well, and should not")
	}
	same(what+": status", okms.ErrStatusCode(err), 0)
	holds(what+": no word of the service", okms.AsKmsError(err) == nil)
}

func refused(what string, err error, status int, code okms.ErrorCode) *okms.KmsError {
	if err == nil {
		fail(what, "goes well, and should be refused with %d", status)
	}
	told := okms.AsKmsError(err)
	if told == nil {
		fail(what, "is refused, but in no words of the service: %v", err)
	}
	if okms.ErrStatusCode(err) != status || told.ErrorCode != code {
		fail(what, "%v; not status %d with code %d", err, status, uint32(code))
	}
	holds(what+": it says why", len(told.Errors) == 1 && told.Errors[0].Error() != "" && told.ErrorId != "")
	same(what+": id of the request", told.RequestId, lastRequestId)
	return told
}

func p[T any](value T) *T { return &value }

// value is what a pointer of an answer leads to, which must be there.
func value[T any](what string, pointer *T) T {
	if pointer == nil {
		fail(what, "is not in the answer")
	}
	return *pointer
}
