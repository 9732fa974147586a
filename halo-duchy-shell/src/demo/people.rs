//! Whom the demo measures: the people of an event log, and those whom nobody reached.

use std::ops::RangeInclusive;

use halo_protocols::data_provider::{SampledPositions, VidIndexMap, VidSamplingInterval};

use super::DemoError;
use super::args::{DemoArgs, Protocol};
use crate::events::{EventLog, Truth, Vid};

/// Ids of a population are below this.
const VID_LIMIT: Vid = (1 << 31) - 1;

/// People and their impressions.
#[derive(Debug)]
pub(super) struct People {
    /// The impressions.
    pub(super) log: EventLog,
    /// The ids of all people, reached or not, where the protocol has a register for each.
    pub(super) population: Option<RangeInclusive<Vid>>,
}

impl People {
    /// The people of the log that `args` names. For a share shuffle they are numbered without gaps, and there are others.
    pub(super) fn of(args: &DemoArgs) -> Result<Self, DemoError> {
        let log = match &args.events {
            Some(path) => EventLog::read(path)?,
            None => EventLog::bundled()?,
        };
        Ok(match args.protocol {
            Protocol::Llv2 | Protocol::RoLlv2 => Self { log, population: None },
            Protocol::Hmss => {
                let size = log.population(1).end().to_owned();
                // With other numbers other people are sampled: a run with a seed is one of many.
                let turn = i64::try_from(args.seed.unwrap_or_default() % 1000).unwrap_or_default();
                let first = Some(1 + turn * size).filter(|first| first + size < VID_LIMIT).unwrap_or(1);
                Self { population: Some(log.population(first)), log: log.numbered(first) }
            }
        })
    }

    /// Reach and frequency of those sampled.
    pub(super) fn truth_in_sample(
        &self,
        args: &DemoArgs,
        maximum_frequency: u32,
    ) -> Result<Truth, DemoError> {
        let (start, width) = (args.vid_sampling_start, args.vid_sampling_width);
        match &self.population {
            None => {
                let sampled = VidSamplingInterval::new(start, width)?;
                Ok(self.log.truth(maximum_frequency, |vid| sampled.contains(vid)))
            }
            Some(population) => {
                let order = VidIndexMap::new(population.clone())?;
                let sampled = SampledPositions::new(order.population(), start, width)?;
                let is_sampled =
                    |vid| order.index(vid).and_then(|position| sampled.register(position)).is_some();
                Ok(self.log.truth(maximum_frequency, is_sampled))
            }
        }
    }
}
