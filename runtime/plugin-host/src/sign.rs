//! Who vouches for a plugin: a statement over its component, signed with Ed25519.
//!
//! Knows nothing of whom a node trusts; that is [`crate::trust`]. A statement has one encoding, and what is
//! signed starts with the name of this use, so that no other signature of the same key can stand for it.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::inspect::{Inspection, Needs};
use crate::manifest::Limits;

mod statement;

pub use statement::{Statement, StatementError};

/// What every signed statement starts with.
const DOMAIN: &[u8] = b"meshwork plugin statement v1\0";
/// Bytes of an Ed25519 signature.
pub const SIGNATURE_LEN: usize = 64;
const PUBLIC: &str = "ed25519:";
const SECRET: &str = "meshwork-plugin-signing-key:ed25519:";

/// The public key of somebody who signs plugins; its text is `ed25519:` and 64 hex digits.
///
/// ```
/// use mesh_plugin_host::sign::SecretKey;
///
/// let key = SecretKey::from_seed(&[7; 32]).public();
/// assert_eq!(key.to_string().parse(), Ok(key));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// It has another form.
    #[error("a public key is 'ed25519:' and 64 hex digits")]
    NotPublic,
    /// It has another form.
    #[error("it is no signing key of this program")]
    NotSecret,
    /// The digits are no point of the curve, or one that signs nothing.
    #[error("the digits are no usable Ed25519 key")]
    Unusable,
}

impl PublicKey {
    /// Takes the bytes of a key.
    ///
    /// # Errors
    /// [`KeyTextError::Unusable`] for what is no point of the curve, or of small order.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<PublicKey, KeyTextError> {
        match VerifyingKey::from_bytes(&bytes) {
            Ok(key) if !key.is_weak() => Ok(PublicKey(bytes)),
            _ => Err(KeyTextError::Unusable),
        }
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<PublicKey, KeyTextError> {
        let bytes = text.trim().strip_prefix(PUBLIC).and_then(bytes_of).ok_or(KeyTextError::NotPublic)?;
        PublicKey::from_bytes(*bytes)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyTextError;

    fn try_from(text: String) -> Result<PublicKey, KeyTextError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_string()
    }
}

/// The key that signs. The memory is wiped when it is dropped; `Debug` shows the public half only.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Makes a key from the system's randomness.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn generate() -> Result<SecretKey, getrandom::Error> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut())?;
        Ok(SecretKey::from_seed(&seed))
    }

    /// Returns the key of this seed.
    pub fn from_seed(seed: &[u8; 32]) -> SecretKey {
        SecretKey(SigningKey::from_bytes(seed))
    }

    /// Reads the text of a key file.
    ///
    /// # Errors
    /// [`KeyTextError::NotSecret`] for anything else.
    pub fn parse(text: &str) -> Result<SecretKey, KeyTextError> {
        let seed = text.trim_end().strip_prefix(SECRET).and_then(bytes_of);
        Ok(SecretKey::from_seed(&*seed.ok_or(KeyTextError::NotSecret)?))
    }

    /// Returns what a key file holds: one line, which wipes itself.
    pub fn to_text(&self) -> Zeroizing<String> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let seed = Zeroizing::new(self.0.to_bytes());
        // Of its full size at once: a string that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(SECRET.len() + 65));
        text.push_str(SECRET);
        for byte in seed.iter() {
            text.push(DIGITS[usize::from(byte >> 4)].into());
            text.push(DIGITS[usize::from(byte & 15)].into());
        }
        text.push('\n');
        text
    }

    /// Returns the public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretKey").field(&self.public()).finish()
    }
}

fn bytes_of(digits: &str) -> Option<Zeroizing<[u8; 32]>> {
    let digits = digits.as_bytes();
    let value = |digit: u8| char::from(digit).to_digit(16).filter(|_| !digit.is_ascii_uppercase());
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = Zeroizing::new([0; 32]);
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (value(pair[0])? << 4 | value(pair[1])?) as u8;
    }
    Some(bytes)
}

/// A statement and its signature. What was decoded may be anything; [`Signed::verify`] says whether it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    statement: Statement,
    signature: [u8; SIGNATURE_LEN],
}

/// Why nothing can be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// It has no manifest, so it has neither name nor version.
    #[error("the component has no manifest, so it has no name to sign for")]
    NoManifest,
    /// It fits no slot.
    #[error("the component fits no slot, so there is nothing to sign it for")]
    NoSlot,
}

/// Why a signed statement does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The signature is not the key's.
    #[error("the signature of {key} does not verify")]
    Signature {
        /// Whose it should be.
        key: PublicKey,
    },
    /// The statement is about something else.
    #[error("{key} signed another {field} than this component has")]
    Differs {
        /// Who signed.
        key: PublicKey,
        /// The first thing that differs.
        field: &'static str,
    },
}

impl Signed {
    /// States what the component is, and signs that. `expires_ms` and `now_ms` are milliseconds since 1970.
    ///
    /// # Errors
    /// When there is nothing to sign for.
    pub fn new(
        key: &SecretKey,
        component: &Inspection,
        now_ms: u64,
        expires_ms: Option<u64>,
    ) -> Result<Signed, SignError> {
        let statement = describe(component, key.public(), now_ms, expires_ms)?;
        let signature = key.0.sign(&message(&statement)).to_bytes();
        Ok(Signed { statement, signature })
    }

    /// Reads a statement and its signature, and verifies neither.
    ///
    /// # Errors
    /// Why the statement cannot be read.
    pub fn decode(statement: &[u8], signature: &[u8]) -> Result<Signed, StatementError> {
        let signature = signature.try_into().map_err(|_| StatementError::Truncated)?;
        Ok(Signed { statement: Statement::decode(statement)?, signature })
    }

    /// Returns what is stated.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Returns the signature.
    pub fn signature(&self) -> &[u8; SIGNATURE_LEN] {
        &self.signature
    }

    /// Verifies the signature, strictly, and that every word of the statement is true of this component.
    ///
    /// # Errors
    /// Which of the two does not hold.
    pub fn verify(&self, component: &Inspection) -> Result<(), VerifyError> {
        let key = self.statement.signer;
        let verifying = VerifyingKey::from_bytes(&key.0).map_err(|_| VerifyError::Signature { key })?;
        verifying
            .verify_strict(&message(&self.statement), &Signature::from_bytes(&self.signature))
            .map_err(|_| VerifyError::Signature { key })?;
        let truth = describe(component, key, self.statement.signed_ms, self.statement.expires_ms);
        match truth {
            Ok(truth) => match self.statement.first_difference(&truth) {
                None => Ok(()),
                Some(field) => Err(VerifyError::Differs { key, field }),
            },
            Err(_) => Err(VerifyError::Differs { key, field: "manifest" }),
        }
    }
}

fn message(statement: &Statement) -> Vec<u8> {
    [DOMAIN, &statement.encode()].concat()
}

/// What an honest signer states of a component: read from the component, not from its author's claims, but for
/// name, version and limits, which are nowhere else.
fn describe(
    component: &Inspection,
    signer: PublicKey,
    signed_ms: u64,
    expires_ms: Option<u64>,
) -> Result<Statement, SignError> {
    let manifest = component.manifest.as_ref().ok_or(SignError::NoManifest)?;
    let kind = component.kind.ok_or(SignError::NoSlot)?;
    let grant = |needs: Needs| match needs {
        Needs::Grant(grant) => Some(grant.to_owned()),
        Needs::Nothing | Needs::VirtualWasi | Needs::Impossible => None,
    };
    let mut grants: Vec<String> = component.imports.iter().filter_map(|import| grant(import.needs)).collect();
    grants.sort_unstable();
    grants.dedup();
    let Limits { deadline, fuel, memory } = manifest.limits.clone();
    Ok(Statement {
        signer,
        digest: component.digest,
        size: component.size_bytes as u64,
        signed_ms,
        expires_ms,
        name: manifest.plugin.name.clone(),
        version: manifest.plugin.version.clone(),
        world: kind.world().to_owned(),
        slot: kind.slot().to_owned(),
        grants,
        deadline: deadline.map(crate::settings::clip),
        fuel,
        memory: memory.map(crate::settings::clip),
    })
}
