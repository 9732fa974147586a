//! What an operator sees of a duchy's computations: on web pages, in a browser, and on the command line.

#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "../store_conformance/fixture.rs"]
#[allow(dead_code, reason = "shared with the store's tests, which use all of it")]
mod fixture;

#[path = "../servers/browser.rs"]
mod browser;
mod commands;
mod pages;
mod shown;
mod world;
