//! `halo-duchy kingdom inject`.

use std::time::Duration;

use clap::{ArgGroup, Args};
use tonic::Code;

use super::admin::{TargetOptions, state};
use crate::config::parse_positive_duration;
use crate::kingdom::fault::{Fault, FaultKind, METHODS};
use crate::proto::dev_kingdom::{Fault as FaultMessage, InjectFaultRequest};
use crate::proto::system::computation::State;
use crate::telemetry::rpc::code_name;

/// The flags of `kingdom inject`: what happens, and to which calls.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("kind").required(true).args([
    "refuse",
    "lose_answer",
    "delay",
    "cut_stream",
    "repeat_items",
    "reverse_items",
    "wrong_state",
    "stale_tokens",
]))]
pub(super) struct InjectOptions {
    #[command(flatten)]
    pub(super) target: TargetOptions,
    /// Answer calls with this status, such as UNAVAILABLE, in place of doing what they ask.
    #[arg(long, value_name = "CODE", value_parser = code)]
    refuse: Option<Code>,
    /// Do what calls ask, and answer with this status as if the answer had got lost.
    #[arg(long, value_name = "CODE", value_parser = code)]
    lose_answer: Option<Code>,
    /// Wait so long before looking at calls.
    #[arg(long, value_name = "DURATION", value_parser = parse_positive_duration)]
    delay: Option<Duration>,
    /// End streams of computations after so many more items.
    #[arg(long, value_name = "ITEMS")]
    cut_stream: Option<u32>,
    /// The status that --cut-stream ends them with.
    #[arg(long, value_name = "CODE", value_parser = code, default_value = "UNAVAILABLE")]
    cut_code: Code,
    /// Send every item of streams twice.
    #[arg(long)]
    repeat_items: bool,
    /// Send the items that streams find at once in the opposite order.
    #[arg(long)]
    reverse_items: bool,
    /// Send computations in this state in streams, whatever theirs is.
    #[arg(long, value_name = "STATE", value_parser = state)]
    wrong_state: Option<State>,
    /// Send continuation tokens from before the first change in streams.
    #[arg(long)]
    stale_tokens: bool,
    /// Only calls of this RPC, such as SetComputationResult.
    #[arg(long, value_name = "RPC", value_parser = METHODS)]
    method: Option<String>,
    /// Only calls by this party, such as duchies/worker1.
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// Only so many calls; in streams, so many times that one finds computations to tell of.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    calls: Option<u32>,
    /// Only for so long.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_positive_duration)]
    lasting: Option<Duration>,
}

impl InjectOptions {
    pub(super) fn request(&self) -> InjectFaultRequest {
        let fault = self.kind().map(|kind| Fault {
            kind,
            method: self.method.clone(),
            caller: self.caller.clone(),
            calls: self.calls,
            end_time: None,
        });
        InjectFaultRequest {
            fault: fault.as_ref().map(FaultMessage::from),
            duration: self.lasting.and_then(|lasting| lasting.try_into().ok()),
        }
    }

    /// What is to happen: the group sees to it that it is one thing.
    fn kind(&self) -> Option<FaultKind> {
        let code = self.cut_code;
        let flags = [
            (self.repeat_items, FaultKind::RepeatItems),
            (self.reverse_items, FaultKind::ReverseItems),
            (self.stale_tokens, FaultKind::StaleTokens),
        ];
        (self.refuse.map(FaultKind::Refuse))
            .or(self.lose_answer.map(FaultKind::LoseAnswer))
            .or(self.delay.map(FaultKind::Delay))
            .or(self.cut_stream.map(|items| FaultKind::CutStream { items, code }))
            .or(self.wrong_state.map(FaultKind::WrongState))
            .or(flags.into_iter().find(|(given, _)| *given).map(|(_, kind)| kind))
    }
}

fn code(text: &str) -> Result<Code, String> {
    let codes = (0..=16).map(Code::from_i32);
    codes
        .into_iter()
        .find(|code| code_name(*code) == text)
        .ok_or_else(|| format!("{text:?} is no status code, such as UNAVAILABLE or ABORTED"))
}
