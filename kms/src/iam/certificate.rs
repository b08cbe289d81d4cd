//! Reads access certificates: the domain stands in a user principal name among the alternative names.
//! Verifies nothing: TLS has checked chain, validity and key usage before.

use super::Identity;
use uuid::Uuid;
use x509_parser::{der_parser, prelude::*};

/// Microsoft's user principal name.
const UPN: &str = "1.3.6.1.4.1.311.20.2.3";
const PREFIX: &str = "okms.domain:";

/// The identity; `None` unless exactly one domain is named.
pub(super) fn parse(der: &[u8]) -> Option<Identity> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut domains = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::OtherName(oid, value) if oid.to_id_string() == UPN => domain(value),
        _ => None,
    });
    let domain = domains.next()?;
    if domains.next().is_some() {
        return None;
    }
    let serial = certificate.raw_serial();
    let expires_s = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    Some(Identity { domain, serial: hex::encode(serial), id: credential(serial), expires_s })
}

/// A serial number of up to 128 bits is the UUID of a credential. DER puts a zero before a number whose first bit is set.
fn credential(serial: &[u8]) -> Option<Uuid> {
    let number = match serial {
        [0, number @ ..] => number,
        number => number,
    };
    let mut bytes = [0; 16];
    let at = bytes.len().checked_sub(number.len())?;
    bytes[at..].copy_from_slice(number);
    Some(Uuid::from_bytes(bytes))
}

/// The value of an other-name: `[0] EXPLICIT UTF8String`.
fn domain(value: &[u8]) -> Option<Uuid> {
    let (_, outer) = der_parser::asn1_rs::Any::from_der(value).ok()?;
    let text = match outer.header.class() {
        der_parser::asn1_rs::Class::ContextSpecific => der_parser::asn1_rs::Any::from_der(outer.data).ok()?.1,
        _ => outer,
    };
    let text = std::str::from_utf8(text.data).ok()?;
    Uuid::try_parse(text.strip_prefix(PREFIX)?).ok()
}
