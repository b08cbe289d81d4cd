//! A service key as it leaves a domain, and as it comes into one: checked like any key that somebody sends.

use super::check_dates;
use crate::{
    container::{Carried, Key},
    crypto::{
        SecretBytes,
        asymmetric::{Curve, PrivateKey, PublicKey, RSA_BITS, Shape},
    },
    engine::{
        Class, Context, KeyName, KeyRecord, KeyType, KeyView, Operations, SIZES,
        create::operations,
        lifecycle::State,
        payload::{Dates, Flags},
    },
    error::Error,
};
use std::time::Duration;

/// The last of KMIP's revocation reasons.
const REASON_MAX: u32 = 7;

/// A key with all that is known of it.
pub(super) fn carried(record: &KeyRecord) -> Key {
    let KeyView { id, name, kind, public, operations, flags, state, dates } = &record.view;
    let material = Some(record.material.duplicate()).filter(|bytes| !bytes.expose().is_empty());
    Key {
        id: *id,
        name: name.clone(),
        r#type: kind.word().to_owned(),
        size: kind.size(),
        curve: kind.curve().map(|curve| curve.word().to_owned()),
        operations: operations.words().map(str::to_owned).collect(),
        context: record.context.clone(),
        state: state.word().to_owned(),
        revocation_reason: record.reason,
        created_us: dates.created_us,
        activated_us: dates.activated_us,
        deactivated_us: dates.deactivated_us,
        compromised_us: dates.compromised_us,
        destroyed_us: dates.destroyed_us,
        extractable: flags.extractable,
        was_extractable: flags.was_extractable,
        imported: flags.imported,
        public_only: flags.public_only,
        material: material.map(Carried),
        public: public.clone().map(|spki| Carried(SecretBytes::new(spki))),
    }
}

fn kind(key: &Key) -> Result<KeyType, Error> {
    match (key.r#type.as_str(), key.size, key.curve.as_deref().map(Curve::of_word)) {
        ("oct", Some(bits), None) if SIZES.contains(&bits) => Ok(KeyType::Oct(bits)),
        ("RSA", Some(bits), None) if RSA_BITS.contains(&bits) => Ok(KeyType::Of(Shape::Rsa(bits))),
        ("EC", None, Some(Some(curve))) => Ok(KeyType::Of(Shape::Ec(curve))),
        _ => Err(Error::bad("type, size and curve of a key are none of one that is offered")),
    }
}

/// The material and the public half, if they are those of a key of this kind.
fn halves(key: &Key, kind: KeyType, class: Class) -> Result<(SecretBytes, Option<Vec<u8>>), Error> {
    let none = || SecretBytes::new(Vec::new());
    let bad = || Error::bad("material and public half are not those of a key of this type");
    let public = key.public.as_ref().map(|public| public.0.expose());
    let material = key.material.as_ref().map(|material| &material.0);
    match (class, kind, material, public) {
        (Class::Secret, KeyType::Oct(bits), Some(bytes), None)
            if bytes.expose().len() * 8 == bits as usize =>
        {
            Ok((bytes.duplicate(), None))
        }
        (Class::Pair, KeyType::Of(shape), Some(bytes), Some(public)) => {
            let own = PrivateKey::from_pkcs8(bytes.expose()).map_err(|error| Error::bad(error.0))?;
            let spki = own.public().to_spki();
            let fits = own.shape() == shape && spki == public;
            if fits { Ok((own.to_pkcs8(), Some(spki))) } else { Err(bad()) }
        }
        (Class::Public, KeyType::Of(shape), None, Some(public)) => {
            let own = PublicKey::from_spki(public).map_err(|error| Error::bad(error.0))?;
            if own.shape() == shape { Ok((none(), Some(own.to_spki()))) } else { Err(bad()) }
        }
        _ => Err(bad()),
    }
}

/// Reads and checks a key that is to come in. What was elsewhere could leave there: that is not forgotten, whatever it says of itself.
///
/// # Errors
/// `BadArgument` says what is wrong with it.
pub(super) fn brought(key: Key) -> Result<KeyRecord, Error> {
    let kind = kind(&key)?;
    let class = match kind {
        KeyType::Oct(_) if key.public_only => return Err(Error::bad("an oct key has no public half")),
        KeyType::Oct(_) => Class::Secret,
        KeyType::Of(_) if key.public_only => Class::Public,
        KeyType::Of(_) => Class::Pair,
    };
    if key.public_only && !key.extractable {
        return Err(Error::bad("a public key is always extractable"));
    }
    let state = State::of_word(&key.state).ok_or_else(|| Error::bad("state is not a documented one"))?;
    let (material, public) = match (state.is_destroyed(), &key.material, &key.public) {
        (false, ..) => halves(&key, kind, class)?,
        (true, None, None) => (SecretBytes::new(Vec::new()), None),
        (true, ..) => return Err(Error::bad("a destroyed key has no material")),
    };
    let asked = key.operations.iter().try_fold(Operations::NONE, |all, word| {
        let one =
            Operations::of_word(word).ok_or_else(|| Error::bad("an operation is not a documented one"))?;
        Ok::<_, Error>(all.with(one))
    })?;
    if key.revocation_reason > REASON_MAX {
        return Err(Error::bad("revocationReason is none of KMIP's"));
    }
    let dates = Dates {
        created_us: key.created_us,
        activated_us: key.activated_us,
        deactivated_us: key.deactivated_us,
        compromised_us: key.compromised_us,
        destroyed_us: key.destroyed_us,
    };
    let others = [dates.activated_us, dates.deactivated_us, dates.compromised_us, dates.destroyed_us];
    check_dates(others.into_iter().flatten().chain([dates.created_us]).map(Duration::from_micros))?;
    let view = KeyView {
        id: key.id,
        name: KeyName::new(key.name)?.into_string(),
        kind,
        public,
        operations: operations(kind, class, asked)?,
        flags: Flags {
            extractable: key.extractable,
            was_extractable: true,
            imported: true,
            public_only: key.public_only,
        },
        state,
        dates,
    };
    let context = key.context.map(Context::new).transpose()?.map(Context::into_string);
    Ok(KeyRecord { view, context, reason: key.revocation_reason, material })
}

/// Whether a key that is there is the one that is brought in, whatever became of it since.
pub(super) fn is_same(there: &KeyRecord, brought: &KeyRecord) -> bool {
    let (one, two) = (&there.view, &brought.view);
    one.kind == two.kind
        && one.public == two.public
        && one.dates.created_us == two.dates.created_us
        && there.material.same(&brought.material)
}
