"""What a schema cannot say, for `cargo xtask openapi`.

First, values that only somebody who knows what they mean can make: keys, base64 of a bounded length, lengths of time, paths that meet.
Then the refusals that are right although the request was as described, because they depend on what is in the region. Each is named by the
service's own word or sentence; a refusal with any other is a failure.
"""

import base64

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import AllowHeaderMismatch, RejectedPositiveData, UseAfterFree

# --- values

# Places that come again, so that requests meet the same secrets; and any other.
WORD = st.from_regex(r"[a-zA-Z0-9_:=@-][a-zA-Z0-9_.:=@-]{0,12}", fullmatch=True)
PLACES = st.sampled_from(["a", "b", "team/database", "team/mail", "x/version", "version"])
schemathesis.openapi.format("secret-path", PLACES | st.lists(WORD, min_size=1, max_size=4).map("/".join))
schemathesis.openapi.format("base64-bytes", st.binary(max_size=96).map(lambda data: base64.b64encode(data).decode()))
schemathesis.openapi.format(
    "time-span",
    st.integers(0, 10**9).map(str)
    | st.tuples(st.integers(0, 9999), st.integers(0, 99), st.integers(0, 99)).map(lambda t: "%dd%dh%dm" % t),
)
# A page token is the service's to make; those that it made are tested by the service's own tests.
schemathesis.openapi.format("page-token", st.just(""))

PUBLIC_EC = {
    "kty": "EC",
    "crv": "P-256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
}
PUBLIC_RSA = {
    "kty": "RSA",
    "e": "AQAB",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj"
    "hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5"
    "hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
}


def keys_sent(body):
    keys = body.get("keys") if isinstance(body, dict) else None
    return keys if isinstance(keys, list) else []


@schemathesis.hook
def map_case(context, case):
    """Gives a request that imports an RSA or EC key as described a key that is one."""
    if case.operation.definition.raw.get("operationId") != "createServiceKey":
        return case
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return case
    body = case.body
    if not isinstance(body, dict):
        return case
    keys = keys_sent(body)
    if len(keys) == 1 and keys[0].get("kty") in ("RSA", "EC"):
        key = dict(PUBLIC_RSA if keys[0]["kty"] == "RSA" else PUBLIC_EC)
        kept = {name: body[name] for name in ("name", "id", "context", "protectionLevel") if name in body}
        case.body = {**kept, "keys": [key]}
    elif len(keys) == 1 and (body.get("type") not in (None, "oct") or body.get("curve") is not None):
        case.body = {name: value for name, value in body.items() if name not in ("type", "curve", "operations")}
    elif body.get("type") == "RSA" and not keys and not body.get("wrappedKeys"):
        # Larger ones take seconds each to make.
        case.body = {**body, "size": 2048}
    return case


# --- refusals that are right

# What the region holds stands against it.
STATE = {
    "check_and_set_mismatch",
    "check_and_set_required",
    "decrypt_failed",
    "not_extractable",
    "operation_not_permitted_by_key",
}
# What two parts of a request say does not go together, or does not go with the key.
TOGETHER = {
    "a jws or jwt has the message in it: isdigest must not be true",
    "a public key is always extractable",
    "alg is not one of this key's",
    "the claims of a jwt are a JSON object",
    "the digest has not the length of the hash of alg",
    "wrappedKeyFormat and wrappingAlgorithm come with wrappingKeyId",
}


def error(response):
    try:
        body = response.json()
    except ValueError:
        return "", ""
    return body.get("error_id", ""), (body.get("errors") or [""])[0]


@schemathesis.hook
def filter_failure(context, failure, case, response):
    if isinstance(failure, RejectedPositiveData):
        word, sentence = error(response)
        return not (word in STATE or word == "bad_argument" and sentence in TOGETHER)
    if isinstance(failure, UseAfterFree):
        # A destroyed key is still shown, as one.
        try:
            return not response.json()["attributes"]["state"].startswith("destroyed")
        except (ValueError, KeyError, TypeError):
            return True
    if isinstance(failure, AcceptedNegativeData):
        # A header that is not known is passed over (RFC 9110, 5.1). And where the configuration has put the domain in the place of
        # a wrong one, nothing is wrong any more.
        right = (
            "in header - object with unexpected properties",
            "Invalid component: parameter `okmsId` in path",
            "Invalid component: positive test case",
        )
        return not any(what in failure.message for what in right)
    if isinstance(failure, AllowHeaderMismatch):
        # OpenAPI 3.1 has no place for Vault's method.
        return not (failure.undocumented_methods == ["LIST"] and not failure.missing_methods)
    return True
