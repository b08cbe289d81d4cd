package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"sync"

	okms "github.com/ovh/okms-sdk-go"
	"github.com/ovh/okms-sdk-go/types"
)

func noise(length int) []byte {
	bytes := make([]byte, length)
	_, _ = rand.Read(bytes)
	return bytes
}

// encryption by the service, with each size of key.
func encryption(s *session) {
	other := of(s.GenerateSymmetricKey(ctx, s.domain, types.N256, "other", "", encrypts...)).must("another key").Id
	for _, size := range []types.KeySizes{types.N128, types.N192, types.N256} {
		id := of(s.GenerateSymmetricKey(ctx, s.domain, size, "encrypts", "", encrypts...)).must("a key").Id
		for _, length := range []int{1, 100, 4096} {
			for _, context := range []string{"", "a context, ünïcode"} {
				what := fmt.Sprintf("%d bytes by %d bits, context `%s`", length, size, context)
				plain := noise(length)
				sealed := of(s.Encrypt(ctx, s.domain, id, context, plain)).must(what)
				again := of(s.Encrypt(ctx, s.domain, id, context, plain)).must(what)
				differ(what+": two ciphertexts", []byte(sealed), []byte(again))
				same(what+": parts", strings.Count(sealed, "."), 4)
				equal(what, of(s.Decrypt(ctx, s.domain, id, context, sealed)).must(what), plain)
				of(s.Decrypt(ctx, s.domain, id, context+"x", sealed)).refused(what+": another context", 400, decryptFailed)
				of(s.Decrypt(ctx, s.domain, other, context, sealed)).refused(what+": another key", 400, decryptFailed)
				of(s.Decrypt(ctx, s.domain, id, context, changed(sealed))).refused(what+": changed", 400, decryptFailed)
			}
		}
		of(s.Encrypt(ctx, s.domain, id, "", noise(4097))).refused("4097 bytes", 400, badArgument)
		of(s.Encrypt(ctx, s.domain, id, strings.Repeat("c", 65), noise(1))).refused("a long context", 400, badArgument)
		of(s.Decrypt(ctx, s.domain, id, "", "nonsense")).refused("what was never encrypted", 400, decryptFailed)
		_, _, err := s.GenerateDataKey(ctx, s.domain, id, "", 256)
		refused("a key that encrypts makes no data keys", err, 400, notOfTheKey)
		of(s.DecryptDataKey(ctx, s.domain, id, "a..b.c.d")).refused("a key that encrypts opens no data keys", 400, notOfTheKey)
		of(s.Sign(ctx, s.domain, id, nil, types.ES256, false, noise(1))).refused("a symmetric key signs nothing", 400, notOfTheKey)
	}
	// One client is used by many at once.
	var all sync.WaitGroup
	wrong := make([]error, 8)
	for at := range wrong {
		all.Add(1)
		go func() {
			defer all.Done()
			for range 8 {
				plain := noise(64)
				sealed, err := s.Encrypt(ctx, s.domain, other, "", plain)
				if err == nil {
					var opened []byte
					if opened, err = s.Decrypt(ctx, s.domain, other, "", sealed); err == nil && !bytes.Equal(opened, plain) {
						err = fmt.Errorf("other bytes than were encrypted")
					}
				}
				if err != nil {
					wrong[at] = err
					return
				}
			}
		}()
	}
	all.Wait()
	for _, err := range wrong {
		done("many at once", err)
	}
}

// changed is a ciphertext with one character of its content changed.
func changed(sealed string) string {
	at := strings.LastIndex(sealed, ".") - 2
	with := byte('A')
	if sealed[at] == with {
		with = 'B'
	}
	return sealed[:at] + string(with) + sealed[at+1:]
}

// dataKeys are made by the service and used here.
func dataKeys(s *session) {
	id := of(s.GenerateSymmetricKey(ctx, s.domain, types.N256, "wraps", "", wraps...)).must("a key that wraps").Id
	other := of(s.GenerateSymmetricKey(ctx, s.domain, types.N256, "wraps too", "", wraps...)).must("another that wraps").Id
	provider, wrong := s.DataKeys(s.domain, id), s.DataKeys(s.domain, other)
	for _, bits := range []int{64, 128, 192, 256, 512, 4096} {
		what := fmt.Sprintf("data key of %d bits", bits)
		plain, sealed, err := s.GenerateDataKey(ctx, s.domain, id, "a name", int32(bits))
		done(what, err)
		same(what+": length", len(plain), bits/8)
		equal(what, of(s.DecryptDataKey(ctx, s.domain, id, sealed)).must(what), plain)
		of(s.DecryptDataKey(ctx, s.domain, other, sealed)).refused(what+": another key", 400, decryptFailed)
		of(s.DecryptDataKey(ctx, s.domain, id, changed(sealed))).refused(what+": changed", 400, decryptFailed)

		fromProvider, sealedToo, err := provider.GenerateDataKey(ctx, "", bits)
		done(what+": by a provider", err)
		same(what+": length, by a provider", len(fromProvider), bits/8)
		differ(what+": two of them", plain, fromProvider)
		equal(what+": by a provider", of(provider.DecryptDataKey(ctx, sealedToo)).must(what), fromProvider)
		of(wrong.DecryptDataKey(ctx, sealedToo)).refused(what+": another provider", 400, decryptFailed)
	}
	for _, bits := range []int32{0, 56, 100, 4104} {
		_, _, err := s.GenerateDataKey(ctx, s.domain, id, "", bits)
		refused(fmt.Sprintf("data key of %d bits", bits), err, 400, badArgument)
	}
	_, _, err := provider.GenerateDataKey(ctx, "", -1)
	bad("data key of -1 bits", err)
	of(s.Encrypt(ctx, s.domain, id, "", noise(1))).refused("a key that wraps encrypts nothing", 400, notOfTheKey)
	of(s.Decrypt(ctx, s.domain, id, "", "a..b.c.d")).refused("a key that wraps decrypts nothing", 400, notOfTheKey)
	both := of(s.GenerateSymmetricKey(ctx, s.domain, types.N256, "both", "", append(wraps, encrypts...)...)).must("a key that does both").Id
	sealed := of(s.Encrypt(ctx, s.domain, both, "", noise(32))).must("a ciphertext")
	of(s.DecryptDataKey(ctx, s.domain, both, sealed)).refused("a ciphertext is no data key", 400, decryptFailed)
	_, sealed, err = s.GenerateDataKey(ctx, s.domain, both, "", 256)
	done("a data key", err)
	of(s.Decrypt(ctx, s.domain, both, "", sealed)).refused("a data key is no ciphertext", 400, decryptFailed)

	for _, length := range []int{0, 1, 5 << 20} {
		what := fmt.Sprintf("%d bytes by data key", length)
		plain, aad := noise(length), []byte("beside it")
		sealed, key, nonce, err := provider.EncryptGCM(ctx, "a name", plain, aad)
		done(what, err)
		equal(what, of(provider.DecryptGCM(ctx, key, sealed, nonce, aad)).must(what), plain)
		of(provider.DecryptGCM(ctx, key, sealed, nonce, nil)).bad(what + ": other data beside it")
		of(provider.DecryptGCM(ctx, key, sealed, noise(len(nonce)), aad)).bad(what + ": another nonce")
		of(wrong.DecryptGCM(ctx, key, sealed, nonce, aad)).refused(what+": another key", 400, decryptFailed)
	}
	for _, block := range []okms.BlockSize{okms.BlockSizeDefault, okms.BlockSize32kB, okms.BlockSize4MB, 0, 17} {
		for _, length := range []int{0, 1, 100, 32 << 10, 9 << 20} {
			if block != 17 || length <= 100 {
				stream(s, provider, wrong, block, length)
			}
		}
	}
	_, err = provider.DecryptStream(ctx, strings.NewReader("this was never a stream"), nil)
	bad("a stream that is none", err)
	_, err = provider.EncryptStream(ctx, io.Discard, nil, 16)
	bad("a stream with blocks that hold nothing", err)
}

// stream encrypts and decrypts by data key, block by block.
func stream(s *session, provider, wrong *okms.DataKeyProvider, block okms.BlockSize, length int) {
	what := fmt.Sprintf("a stream of %d bytes in blocks of %d", length, block)
	plain, aad := noise(length), []byte("beside it")
	var sealed bytes.Buffer
	to := of(provider.EncryptStream(ctx, &sealed, aad, block)).must(what)
	head := sealed.Len()
	copied := of(io.Copy(to, bytes.NewReader(plain))).must(what)
	same(what+": taken", copied, int64(length))
	done(what+": end", to.Close())
	read := func(sealed, aad []byte) answer[[]byte] {
		from, err := provider.DecryptStream(ctx, bytes.NewReader(sealed), aad)
		if err != nil {
			return of[[]byte](nil, err)
		}
		return of(io.ReadAll(from))
	}
	equal(what, read(sealed.Bytes(), aad).must(what), plain)
	_, err := wrong.DecryptStream(ctx, bytes.NewReader(sealed.Bytes()), aad)
	refused(what+": another key", err, 400, decryptFailed)
	if length == 0 {
		return
	}
	holds(what+": is sealed", sealed.Len() > head+length && !bytes.Contains(sealed.Bytes(), plain) || length < 16)
	read(sealed.Bytes(), []byte("beside")).bad(what + ": other data beside it")
	read(sealed.Bytes()[:head-1], aad).bad(what + ": cut in its head")
	read(sealed.Bytes()[:head+1], aad).bad(what + ": cut after one byte")
	read(sealed.Bytes()[:sealed.Len()-1], aad).bad(what + ": without its last byte")
	if block > 0 && sealed.Len() > head+int(block) {
		read(sealed.Bytes()[:head+int(block)], aad).bad(what + ": its first block alone")
	}
	flipped := bytes.Clone(sealed.Bytes())
	flipped[head] ^= 1
	read(flipped, aad).bad(what + ": changed")
	if cut := read(sealed.Bytes()[:head], aad); cut.err == nil && len(cut.value) == 0 {
		quirks["DecryptStream takes a stream that was cut after its head for an empty one"] = true
	}
}
