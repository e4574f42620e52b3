//! What docs/plugins.md shows is what is compiled and tested.

#[test]
fn the_guide_shows_the_example_as_it_is() {
    let guide = include_str!("../../docs/plugins.md");
    let example = include_str!("../examples/fewest_hops.rs");

    assert!(guide.contains(&format!("```rust\n{example}```\n")), "docs/plugins.md has another src/lib.rs");
}
