//! What examples in `examples/` have in common, and the snippets of the book, which are compiled and run with them.

pub mod cost_plan;
pub mod llv2_host;

/// [The book's guide](https://github.com/halo-duchy/halo-duchy/blob/main/docs/embedding.md).
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
pub struct EmbeddingGuide;
