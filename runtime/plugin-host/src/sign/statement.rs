//! The statement that is signed, and its one encoding.
//!
//! Fields in this order, numbers little-endian, texts as length (2) and UTF-8: version (1, is 1), signer (32),
//! BLAKE3 of the component (32), its length (8), time of signing (8), expiry, name, version, world, slot, grants
//! (count (1), then each, ascending), deadline, fuel, memory. What may be absent starts with 0 or 1.

use super::PublicKey;

const VERSION: u8 = 1;
/// Bytes of one text, and a clipped one is a little longer than its 256.
const MAX_TEXT: usize = 300;
const MAX_GRANTS: usize = 16;

/// What a signer states of one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Who states it.
    pub signer: PublicKey,
    /// BLAKE3 over the component.
    pub digest: [u8; 32],
    /// Bytes of the component.
    pub size: u64,
    /// When it was signed, in milliseconds since 1970, by the signer's clock.
    pub signed_ms: u64,
    /// When it ends, in milliseconds since 1970; `None` for never.
    pub expires_ms: Option<u64>,
    /// The plugin's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The WIT package of its world.
    pub world: String,
    /// The slot it fits.
    pub slot: String,
    /// The grants it needs, ascending.
    pub grants: Vec<String>,
    /// The time for a call that its author names.
    pub deadline: Option<String>,
    /// The instructions for a call that its author names.
    pub fuel: Option<u64>,
    /// The memory that its author names.
    pub memory: Option<String>,
}

/// Why bytes are no statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// It ends too early.
    #[error("it is truncated")]
    Truncated,
    /// It has another version.
    #[error("it has version {found}, this host reads {VERSION}")]
    Version {
        /// Which.
        found: u8,
    },
    /// A text or a list is too long, or no text.
    #[error("its {field} cannot be read")]
    Field {
        /// Which.
        field: &'static str,
    },
    /// The key is none.
    #[error("its key is not usable")]
    Key,
    /// It is not in the one form that is allowed.
    #[error("it is not in canonical form")]
    NotCanonical,
}

impl Statement {
    /// Returns the one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(self.signer.as_bytes());
        out.extend(self.digest);
        out.extend(self.size.to_le_bytes());
        out.extend(self.signed_ms.to_le_bytes());
        put_number(&mut out, self.expires_ms);
        for text in [&self.name, &self.version, &self.world, &self.slot] {
            put_text(&mut out, text);
        }
        out.push(self.grants.len() as u8);
        self.grants.iter().for_each(|grant| put_text(&mut out, grant));
        put_optional_text(&mut out, self.deadline.as_deref());
        put_number(&mut out, self.fuel);
        put_optional_text(&mut out, self.memory.as_deref());
        out
    }

    /// Reads a statement.
    ///
    /// # Errors
    /// When it is damaged, or not exactly what [`Statement::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Statement, StatementError> {
        let mut rest = Rest(bytes);
        match rest.array::<1>()? {
            [VERSION] => {}
            [found] => return Err(StatementError::Version { found }),
        }
        let statement = Statement {
            signer: PublicKey::from_bytes(rest.array()?).map_err(|_| StatementError::Key)?,
            digest: rest.array()?,
            size: u64::from_le_bytes(rest.array()?),
            signed_ms: u64::from_le_bytes(rest.array()?),
            expires_ms: rest.number()?,
            name: rest.text("name")?,
            version: rest.text("version")?,
            world: rest.text("world")?,
            slot: rest.text("slot")?,
            grants: rest.grants()?,
            deadline: rest.optional_text("deadline")?,
            fuel: rest.number()?,
            memory: rest.optional_text("memory")?,
        };
        let is_ascending = statement.grants.windows(2).all(|pair| pair[0] < pair[1]);
        if !rest.0.is_empty() || !is_ascending {
            return Err(StatementError::NotCanonical);
        }
        Ok(statement)
    }

    /// Returns the first field in which the two differ, but for signer and times.
    pub(super) fn first_difference(&self, other: &Statement) -> Option<&'static str> {
        let fields = [
            ("digest", self.digest == other.digest),
            ("size", self.size == other.size),
            ("name", self.name == other.name),
            ("version", self.version == other.version),
            ("world", self.world == other.world),
            ("slot", self.slot == other.slot),
            ("grants", self.grants == other.grants),
            (
                "limits",
                (&self.deadline, self.fuel, &self.memory) == (&other.deadline, other.fuel, &other.memory),
            ),
        ];
        fields.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_optional_text(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(text.is_some().into());
    if let Some(text) = text {
        put_text(out, text);
    }
}

fn put_number(out: &mut Vec<u8>, number: Option<u64>) {
    out.push(number.is_some().into());
    out.extend(number.into_iter().flat_map(u64::to_le_bytes));
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], StatementError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(StatementError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StatementError> {
        self.take(N)?.try_into().map_err(|_| StatementError::Truncated)
    }

    fn text(&mut self, field: &'static str) -> Result<String, StatementError> {
        let len = usize::from(u16::from_le_bytes(self.array()?));
        if len > MAX_TEXT {
            return Err(StatementError::Field { field });
        }
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| StatementError::Field { field })?;
        Ok(text.to_owned())
    }

    fn is_there(&mut self) -> Result<bool, StatementError> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(StatementError::NotCanonical),
        }
    }

    fn optional_text(&mut self, field: &'static str) -> Result<Option<String>, StatementError> {
        if self.is_there()? { self.text(field).map(Some) } else { Ok(None) }
    }

    fn number(&mut self) -> Result<Option<u64>, StatementError> {
        if self.is_there()? { Ok(Some(u64::from_le_bytes(self.array()?))) } else { Ok(None) }
    }

    fn grants(&mut self) -> Result<Vec<String>, StatementError> {
        let [count] = self.array()?;
        if usize::from(count) > MAX_GRANTS {
            return Err(StatementError::Field { field: "grants" });
        }
        (0..count).map(|_| self.text("grants")).collect()
    }
}
