//! What the documentation says of commands is so: command lines are understood by the program, names of tests, benches and examples
//! exist, pages are in the book, links and comments lead to headings, pictures are those of the code, configuration is read by what reads it, and
//! the pages that show a measurement, by hand and by docker-compose, are run as they stand. Rust snippets are doctests: the crates' own,
//! and those of `examples/src/lib.rs`.

mod book;
mod by_hand;
mod cargo;
mod citations;
mod commands;
mod compose;
mod data;
mod demo;
mod examples;
mod pages;
mod pictures;
mod scripts;
mod svg;

/// Fails with all that is wrong, a line each.
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
