//! Typed settings, and the reasons to refuse them.

/// One value of a plugin's settings, parsed by the host.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// Anything else.
    Text(String),
}

impl From<bool> for Value {
    fn from(flag: bool) -> Value {
        Value::Flag(flag)
    }
}

impl From<i64> for Value {
    fn from(integer: i64) -> Value {
        Value::Integer(integer)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

/// Why a plugin refuses settings or a saved state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No setting of this name is known.
    UnknownSetting(String),
    /// The setting of this name is out of range or of the wrong type.
    BadSetting(String),
    /// State of this version cannot be read.
    UnknownVersion(u32),
    /// The state's bytes are damaged.
    BadState,
}

/// A plugin's settings by name. Reading takes them out, so that [`Settings::finish`] finds what nobody asked
/// for.
///
/// ```
/// # use mesh_sdk::{Refusal, Settings};
/// let mut settings = Settings::from([("margin_percent", 15.into())]);
/// assert_eq!(settings.integer("margin_percent", 20, 0..=100), Ok(15));
/// assert_eq!(settings.integer("margin_us", 2_000, 0..=1_000_000), Ok(2_000));
/// assert_eq!(settings.finish(), Ok(()));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(Vec<(String, Value)>);

impl<const N: usize> From<[(&str, Value); N]> for Settings {
    fn from(settings: [(&str, Value); N]) -> Settings {
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

impl FromIterator<(String, Value)> for Settings {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(settings: I) -> Settings {
        Settings(settings.into_iter().collect())
    }
}

impl Settings {
    /// Takes out the value of this name.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Takes out a whole number, or `default` when it is not given.
    ///
    /// # Errors
    /// [`Refusal::BadSetting`] for another type or a number out of `range`.
    pub fn integer(
        &mut self,
        name: &str,
        default: i64,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<i64, Refusal> {
        match self.take(name) {
            None => Ok(default),
            Some(Value::Integer(integer)) if range.contains(&integer) => Ok(integer),
            Some(_) => Err(Refusal::BadSetting(name.to_owned())),
        }
    }

    /// Takes out a number, whole or not, or `default` when it is not given.
    ///
    /// # Errors
    /// [`Refusal::BadSetting`] for another type or a number out of `range`.
    pub fn number(
        &mut self,
        name: &str,
        default: f64,
        range: std::ops::RangeInclusive<f64>,
    ) -> Result<f64, Refusal> {
        let number = match self.take(name) {
            None => return Ok(default),
            Some(Value::Integer(integer)) => integer as f64,
            Some(Value::Number(number)) => number,
            Some(_) => return Err(Refusal::BadSetting(name.to_owned())),
        };
        if range.contains(&number) { Ok(number) } else { Err(Refusal::BadSetting(name.to_owned())) }
    }

    /// Takes out a yes or no, or `default` when it is not given.
    ///
    /// # Errors
    /// [`Refusal::BadSetting`] for another type.
    pub fn flag(&mut self, name: &str, default: bool) -> Result<bool, Refusal> {
        match self.take(name) {
            None => Ok(default),
            Some(Value::Flag(flag)) => Ok(flag),
            Some(_) => Err(Refusal::BadSetting(name.to_owned())),
        }
    }

    /// Takes out a text, or `default` when it is not given.
    ///
    /// # Errors
    /// [`Refusal::BadSetting`] for another type.
    pub fn text(&mut self, name: &str, default: &str) -> Result<String, Refusal> {
        match self.take(name) {
            None => Ok(default.to_owned()),
            Some(Value::Text(text)) => Ok(text),
            Some(_) => Err(Refusal::BadSetting(name.to_owned())),
        }
    }

    /// Refuses what has not been taken out.
    ///
    /// # Errors
    /// [`Refusal::UnknownSetting`] with the first of them.
    pub fn finish(mut self) -> Result<(), Refusal> {
        match self.0.pop() {
            None => Ok(()),
            Some((name, _)) => Err(Refusal::UnknownSetting(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_nobody_asked_for_is_refused_by_name() {
        let settings = Settings::from([("typo", true.into())]);

        assert_eq!(settings.finish(), Err(Refusal::UnknownSetting("typo".into())));
    }

    #[test]
    fn a_setting_out_of_range_or_of_another_type_is_refused_by_name() {
        for value in [Value::Integer(11), Value::Number(1.0), Value::Text("5".into())] {
            let mut settings = Settings::from([("margin", value.clone())]);

            let got = settings.integer("margin", 0, 0..=10);

            assert_eq!(got, Err(Refusal::BadSetting("margin".into())), "{value:?}");
        }
    }
}
