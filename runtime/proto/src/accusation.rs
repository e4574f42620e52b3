//! Accusations: a node says, signed, that a neighbour went silent. The accused has the last word.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::frame::Violation;
use crate::id::NodeId;
use crate::run::Verified;
use crate::wire::Reader;

const CONTEXT: &[u8] = b"meshwork accusation v1";

/// One node's word that another went silent. A record of the accused with a higher version refutes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accusation {
    /// Who is said to be silent.
    pub subject: NodeId,
    /// The version of its record that the accuser knew.
    pub version: u64,
    /// Who says so.
    pub accuser: NodeId,
    signature: [u8; 64],
}

impl Accusation {
    /// Writes and signs an accusation.
    pub fn sign(key: &SigningKey, subject: NodeId, version: u64) -> Accusation {
        let accuser = NodeId(key.verifying_key().to_bytes());
        let mut accusation = Accusation { subject, version, accuser, signature: [0; 64] };
        accusation.signature = key.sign(&accusation.statement()).to_bytes();
        accusation
    }

    /// Says whether the accuser signed it.
    pub fn is_signed(&self, memo: &mut Verified) -> bool {
        let statement = self.statement();
        let digest = memo.digest(&self.accuser, &statement, &self.signature);
        memo.check(digest, || {
            VerifyingKey::from_bytes(&self.accuser.0)
                .and_then(|key| key.verify_strict(&statement, &Signature::from_bytes(&self.signature)))
                .is_ok()
        })
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Accusation, Violation> {
        Ok(Accusation {
            subject: NodeId(reader.array()?),
            version: reader.u64()?,
            accuser: NodeId(reader.array()?),
            signature: reader.array()?,
        })
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.subject.0);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.accuser.0);
        out.extend_from_slice(&self.signature);
    }

    fn statement(&self) -> Vec<u8> {
        let mut out = CONTEXT.to_vec();
        out.extend_from_slice(&self.subject.0);
        out.extend_from_slice(&self.version.to_le_bytes());
        out
    }
}
