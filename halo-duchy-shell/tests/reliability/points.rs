//! The fail points that a measurement passes.

use std::collections::{BTreeMap, BTreeSet};

use crate::fleet::{DUCHIES, Fleet};

/// One passing of a fail point by a process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The process, `DUCHY-PART`.
    pub process: String,
    /// The point, `SIDE-EFFECT@STAGE`.
    pub name: String,
    /// Which passing by this process, from 1.
    pub nth: usize,
}

impl Point {
    /// How the environment asks for something to happen there.
    pub fn arming(&self) -> String {
        format!("{}:{}", self.name, self.nth)
    }

    /// The process without its duchy.
    pub fn part(&self) -> &str {
        let duchy = DUCHIES.iter().find(|duchy| self.process.starts_with(**duchy));
        self.process[duchy.map_or(0, |duchy| duchy.len() + 1)..].trim_end_matches("-server")
    }

    /// What happens there, in whatever stage.
    pub fn effect(&self) -> &str {
        self.name.split('@').next().unwrap_or_default()
    }
}

/// The points that all processes have passed so far, each at most `times` times.
pub fn passed(fleet: &Fleet, times: usize) -> BTreeSet<Point> {
    let mut points = BTreeSet::new();
    for process in fleet.duchy_processes() {
        let mut counts = BTreeMap::<String, usize>::new();
        for name in fleet.points(&process) {
            let nth = counts.entry(name.clone()).or_default();
            *nth += 1;
            if *nth <= times {
                points.insert(Point { process: process.clone(), name, nth: *nth });
            }
        }
    }
    points
}

/// One point for each effect of each part, spread over duchies and stages.
pub fn one_of_each_effect(points: &BTreeSet<Point>) -> Vec<Point> {
    let mut effects = BTreeMap::<(&str, &str), Vec<&Point>>::new();
    for point in points.iter().filter(|point| point.nth == 1) {
        effects.entry((point.part(), point.effect())).or_default().push(point);
    }
    let mut taken = BTreeMap::<&str, usize>::new();
    let mut chosen = Vec::new();
    for (index, candidates) in effects.into_values().enumerate() {
        // The process that has the fewest so far; of its stages, another each time.
        let count = |point: &&&Point| taken.get(point.process.as_str()).copied().unwrap_or_default();
        let Some(process) = candidates.iter().min_by_key(count).map(|point| &point.process) else { continue };
        let stages: Vec<_> = candidates.iter().filter(|point| point.process == *process).collect();
        *taken.entry(process).or_default() += 1;
        chosen.push((*stages[index * 7 % stages.len()]).clone());
    }
    chosen
}

/// Batches in which each process has at most one point.
pub fn batches(points: Vec<Point>) -> Vec<Vec<Point>> {
    let mut batches: Vec<Vec<Point>> = Vec::new();
    for point in points {
        match batches.iter_mut().find(|batch| batch.iter().all(|other| other.process != point.process)) {
            Some(batch) => batch.push(point),
            None => batches.push(vec![point]),
        }
    }
    batches
}
