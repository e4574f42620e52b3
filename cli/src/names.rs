//! Names for nodes that were given none: an adjective and an animal.

const ADJECTIVES: [&str; 64] = [
    "amber", "bold", "brave", "bright", "brisk", "calm", "clever", "cosy", "crisp", "daring", "deft",
    "eager", "early", "fair", "fleet", "fond", "free", "fresh", "gentle", "glad", "golden", "grand", "happy",
    "hardy", "honest", "humble", "jolly", "keen", "kind", "lively", "loyal", "lucky", "mellow", "merry",
    "mild", "misty", "neat", "nimble", "noble", "patient", "plucky", "polite", "proud", "quick", "quiet",
    "rapid", "ready", "serene", "sharp", "silver", "sleek", "smooth", "snowy", "solid", "spry", "steady",
    "sunny", "swift", "tidy", "vivid", "warm", "wise", "witty", "zesty",
];

const ANIMALS: [&str; 64] = [
    "ant", "badger", "bat", "bear", "bee", "bison", "boar", "camel", "cat", "crab", "crane", "crow", "deer",
    "dove", "duck", "eagle", "eel", "elk", "falcon", "ferret", "finch", "fox", "frog", "gecko", "goat",
    "goose", "gull", "hare", "hawk", "heron", "horse", "ibex", "jay", "kite", "koala", "lark", "lemur",
    "lion", "lizard", "llama", "lynx", "marten", "mole", "moose", "newt", "orca", "otter", "owl", "panda",
    "pike", "puffin", "quail", "raven", "robin", "seal", "shrew", "sloth", "stork", "swan", "tapir", "tiger",
    "toad", "vole", "wren",
];

/// Returns a name such as `brisk-otter`, one of 4,096.
///
/// # Errors
/// When the system has no randomness.
pub fn random() -> Result<String, getrandom::Error> {
    let number = getrandom::u32()? as usize;
    Ok(format!("{}-{}", ADJECTIVES[number % 64], ANIMALS[number / 64 % 64]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_word_occurs_twice() {
        assert_eq!(ADJECTIVES.iter().chain(&ANIMALS).collect::<BTreeSet<_>>().len(), 128);
    }

    #[test]
    fn names_are_a_word_and_a_word() {
        let name = random().unwrap();
        assert!(
            name.split_once('-').is_some_and(|(a, b)| ADJECTIVES.contains(&a) && ANIMALS.contains(&b)),
            "{name}"
        );
    }
}
