//! Gives an extractable key out, encrypted to a transport key. Never in clear, and never one that is not active.

use super::{CarriedFormat, HostService, KeyView, Operations, encrypt::Use, payload::KeyType};
use crate::{
    crypto::{
        SecretBytes,
        asymmetric::{Jwk, OaepHash, PrivateKey},
        carried,
    },
    error::{Code, Error},
    iam::{Authorized, action},
};

/// How a key is to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// How it is written inside.
    pub format: CarriedFormat,
    /// The hash of OAEP.
    pub hash: OaepHash,
}

impl HostService {
    /// The attributes of a key, and the key itself as compact JWE, encrypted to the transport key of the second right.
    ///
    /// # Errors
    /// `NotExtractable`; `BadArgument` if the format is none of its type; what stands against the use of either key.
    pub async fn export(
        &self,
        may: &Authorized<action::Get>,
        may_wrap: &Authorized<action::Wrap>,
        way: Way,
    ) -> Result<(KeyView, String), Error> {
        let (id, transport_id) = (*may.of(), *may_wrap.of());
        let how = (Operations::NONE, Use::Protect);
        let leaves = self.to_use(may.domain(), id, how).await?;
        if !leaves.view().flags.extractable || leaves.view().flags.public_only {
            let sentence =
                "the key is not extractable, or a public half alone: that is shown with format=jwk";
            return Err(Error::new(Code::NotExtractable, sentence));
        }
        let text = written(leaves.view().kind, leaves.material(), way.format)?;
        let how = (Operations::WRAP, Use::Protect);
        let transport = self.to_use(may_wrap.domain(), transport_id, how).await?;
        let to = self.public_half(&transport)?;
        let token = carried::seal(&self.env, (transport_id, &to), way.hash, text)?;
        // What is shown is what stands under every outcome; what leaves does not depend on it.
        Ok((self.get(may).await?, token))
    }
}

fn written(kind: KeyType, material: &SecretBytes, format: CarriedFormat) -> Result<SecretBytes, Error> {
    let private = || {
        PrivateKey::from_pkcs8(material.expose()).map_err(|_| Error::integrity("a sealed key does not read"))
    };
    let json = |jwk: &Jwk| {
        let text = serde_json::to_vec(jwk).map_err(|_| Error::internal("a JWK is not written"));
        text.map(SecretBytes::new)
    };
    match (format, kind) {
        (CarriedFormat::Raw, KeyType::Oct(_)) => Ok(material.duplicate()),
        (CarriedFormat::Jwk, KeyType::Oct(_)) => json(&Jwk::of_oct(material)),
        (CarriedFormat::Jwk, KeyType::Of(_)) => json(&Jwk::of_private(&private()?)),
        (CarriedFormat::Pkcs8, KeyType::Of(_)) => Ok(material.duplicate()),
        (CarriedFormat::Pkcs1, KeyType::Of(_)) => {
            private()?.to_pkcs1().ok_or_else(|| Error::bad("PKCS1 is of RSA keys alone"))
        }
        (CarriedFormat::Raw, KeyType::Of(_)) => Err(Error::bad("RAW is of oct keys alone")),
        (CarriedFormat::Pkcs1 | CarriedFormat::Pkcs8, KeyType::Oct(_)) => {
            Err(Error::bad("an oct key is carried as RAW or JWK"))
        }
    }
}
