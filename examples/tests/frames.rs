//! The frames of the example `custom_transport`, whose tests are within it: as a target that is tested it would not be built to
//! be run.

#[allow(dead_code, reason = "its main is run by the test `embed`")]
#[path = "../examples/custom_transport.rs"]
mod custom_transport;
