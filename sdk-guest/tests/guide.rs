//! What docs/plugins/writing.md shows is what is compiled and tested.

#[test]
fn the_guide_shows_the_example_as_it_is() {
    let guide = include_str!("../../docs/plugins/writing.md");
    let example = include_str!("../examples/fewest_hops.rs");

    assert!(
        guide.contains(&format!("```rust\n{example}```\n")),
        "docs/plugins/writing.md has another src/lib.rs"
    );
}
