//! Has links to the nodes whose name or label is listed, and to everybody while nobody is.

use mesh_sdk::admission::{Admission, Health, Place, Visitor};
use mesh_sdk::{Refusal, Settings};

/// Who is listed.
#[derive(Default)]
pub struct Policy {
    names: Vec<String>,
    labels: Vec<(String, String)>,
}

impl Admission for Policy {
    fn configure(&mut self, mut settings: Settings) -> Result<(), Refusal> {
        self.names = items(&settings.text("names", "")?);
        let labels = items(&settings.text("labels", "")?);
        let pair = |item: String| item.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        let labels: Option<_> = labels.into_iter().map(pair).collect();
        self.labels = labels.ok_or_else(|| Refusal::BadSetting("labels".to_owned()))?;
        settings.finish()
    }

    fn admit(&mut self, _: &Place, visitor: &Visitor) -> bool {
        let is_open = self.names.is_empty() && self.labels.is_empty();
        // Whoever has not said who he is is asked about again when he has.
        is_open || visitor.health == Health::Unknown || self.lists(visitor)
    }
}

impl Policy {
    fn lists(&self, visitor: &Visitor) -> bool {
        self.names.contains(&visitor.name) || visitor.labels.iter().any(|label| self.labels.contains(label))
    }
}

/// The items of a list with commas between.
fn items(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

mesh_sdk::admission!(Policy);

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(names: &str, labels: &str) -> Result<Policy, Refusal> {
        let mut policy = Policy::default();
        policy.configure(Settings::from([("names", names.into()), ("labels", labels.into())]))?;
        Ok(policy)
    }

    fn visitor(name: &str, label: (&str, &str)) -> Visitor {
        let labels = vec![(label.0.to_owned(), label.1.to_owned())];
        Visitor { name: name.to_owned(), labels, health: Health::Alive, ..Visitor::default() }
    }

    #[test]
    fn who_is_listed_by_name_or_label_is_let_in() {
        let mut policy = policy("alice, bob", "team=red").unwrap();
        for (name, label, want) in [
            ("bob", ("team", "blue"), true),
            ("carol", ("team", "red"), true),
            ("carol", ("team=red", ""), false),
            ("", ("team", ""), false),
        ] {
            let got = policy.admit(&Place::default(), &visitor(name, label));

            assert_eq!(got, want, "{name} {label:?}");
        }
    }

    #[test]
    fn who_has_said_nothing_yet_is_let_in_until_then() {
        let mut policy = policy("alice", "").unwrap();

        let answers = [Health::Unknown, Health::Alive]
            .map(|health| policy.admit(&Place::default(), &Visitor { health, ..Visitor::default() }));

        assert_eq!(answers, [true, false]);
    }

    #[test]
    fn a_label_without_a_value_is_refused() {
        assert_eq!(policy("", "team").err(), Some(Refusal::BadSetting("labels".to_owned())));
    }
}
