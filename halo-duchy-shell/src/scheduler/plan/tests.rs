use proptest::prelude::*;

use super::*;

const HISTORY: HistoryLimits = HistoryLimits { successful: 3, failed: 1 };

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(second * 1000)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn observed(name: &str, mill_type: MillType, state: JobState) -> ObservedJob {
    ObservedJob {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        mill_type,
        state,
        orphan: false,
        going: false,
    }
}

fn llv2(name: &str, state: JobState) -> ObservedJob {
    observed(name, MillType::LiquidLegionsV2, state)
}

fn names<'a>(jobs: &[&'a ObservedJob]) -> Vec<&'a str> {
    jobs.iter().map(|job| job.name.as_str()).collect()
}

#[test]
fn the_oldest_beyond_each_limit_go() {
    let mut jobs: Vec<_> = (0..5).map(|n| llv2(&format!("s{n}"), JobState::Succeeded(at(10 - n)))).collect();
    jobs.extend((0..3).map(|n| llv2(&format!("f{n}"), JobState::Failed(at(n)))));
    jobs.push(observed("other", MillType::HonestMajorityShareShuffle, JobState::Failed(at(0))));
    let plan = plan(&jobs, [1, 1], HISTORY);
    assert_eq!(names(&plan.delete), ["s4", "s3", "f0", "f1"]);
    assert_eq!(plan.vacancies, [1, 1]);
}

#[test]
fn a_job_that_is_going_is_left_alone_but_counted_while_it_runs() {
    let mut jobs = vec![llv2("a", JobState::Unfinished), llv2("b", JobState::Failed(at(1)))];
    jobs.iter_mut().for_each(|job| {
        job.going = true;
        job.orphan = true;
    });
    let plan = plan(&jobs, [2, 2], HistoryLimits { successful: 0, failed: 0 });
    assert_eq!(plan, Plan { vacancies: [1, 2], delete: vec![], adopt: vec![] });
}

fn jobs() -> impl Strategy<Value = Vec<ObservedJob>> {
    let state = prop_oneof![
        Just(JobState::Unfinished),
        (0..20_i64).prop_map(|second| JobState::Succeeded(at(second))),
        (0..20_i64).prop_map(|second| JobState::Failed(at(second))),
    ];
    let job = (prop::sample::select(MillType::ALL.to_vec()), state, any::<bool>(), prop::bool::weighted(0.2));
    prop::collection::vec(job, 0..40).prop_map(|jobs| {
        let jobs = jobs.into_iter().enumerate();
        jobs.map(|(index, (mill_type, state, orphan, going))| ObservedJob {
            orphan,
            going,
            ..observed(&format!("j{index:02}"), mill_type, state)
        })
        .collect()
    })
}

fn ended_at(job: &ObservedJob) -> (bool, Timestamp) {
    match job.state {
        JobState::Succeeded(at) => (true, at),
        JobState::Failed(at) => (false, at),
        JobState::Unfinished => panic!("{} has not ended", job.name),
    }
}

proptest! {
    /// However many Jobs there are, no limit is exceeded by what may be created, and what is used is what is counted.
    #[test]
    fn limits_hold(jobs in jobs(), concurrency in [0..20_usize, 0..20_usize]) {
        let plan = plan(&jobs, concurrency, HISTORY);
        for (index, mill_type) in MillType::ALL.into_iter().enumerate() {
            let running = jobs.iter().filter(|job| job.mill_type == mill_type && job.is_unfinished()).count();
            prop_assert_eq!((plan.vacancies[index] + running).max(concurrency[index]), concurrency[index].max(running));
            prop_assert!(plan.vacancies[index] == 0 || plan.vacancies[index] + running == concurrency[index]);
        }
    }

    /// Only ended Jobs go, the oldest of their kind, and just as many as there are too many.
    #[test]
    fn history_is_kept(jobs in jobs(), successful in 0..5_usize, failed in 0..5_usize) {
        let plan = plan(&jobs, [1, 1], HistoryLimits { successful, failed });
        for mill_type in MillType::ALL {
            for (succeeded, limit) in [(true, successful), (false, failed)] {
                let of_kind = |job: &&ObservedJob| {
                    job.mill_type == mill_type && !job.is_unfinished() && ended_at(job).0 == succeeded
                };
                let there: Vec<_> = jobs.iter().filter(of_kind).filter(|job| !job.going).collect();
                let deleted: Vec<_> = plan.delete.iter().copied().filter(of_kind).collect();
                prop_assert_eq!(deleted.len(), there.len().saturating_sub(limit));
                let kept = there.iter().filter(|job| !deleted.contains(job));
                let oldest_kept = kept.map(|job| ended_at(job).1).min();
                prop_assert!(deleted.iter().all(|job| !job.going && oldest_kept.is_none_or(|at| ended_at(job).1 <= at)));
            }
        }
        prop_assert!(plan.delete.iter().all(|job| !job.is_unfinished()));
        prop_assert!(plan.adopt.iter().all(|job| job.orphan && !job.going && !plan.delete.contains(job)));
        let forgotten = |job: &ObservedJob| job.orphan && !job.going && !plan.delete.contains(&job) && !plan.adopt.contains(&job);
        prop_assert!(!jobs.iter().any(forgotten));
    }

    /// The order in which the API server lists Jobs does not matter.
    #[test]
    fn order_does_not_matter(jobs in jobs(), seed in any::<usize>()) {
        let mut turned = jobs.clone();
        if !turned.is_empty() {
            let middle = seed % turned.len();
            turned.rotate_left(middle);
        }
        let (one, other) = (plan(&jobs, [5, 5], HISTORY), plan(&turned, [5, 5], HISTORY));
        prop_assert_eq!(one.vacancies, other.vacancies);
        prop_assert_eq!(names(&one.delete), names(&other.delete));
    }

    /// A queue is worked off whatever the Jobs do, and never by more at once than allowed.
    #[test]
    fn a_queue_is_worked_off(
        mut queue in 0..60_usize,
        limit in 1..8_usize,
        events in prop::collection::vec((0..8_usize, any::<bool>(), 1..30_i64), 0..200),
    ) {
        let mut jobs: Vec<ObservedJob> = Vec::new();
        let mut failures = Failures::new(seconds(1), seconds(8));
        let (mut now, mut created) = (0, 0);
        // Whatever happens first, in the end Jobs end well.
        let events = events.into_iter().chain(std::iter::repeat((0, true, 10)));
        for (which, well, later) in events {
            if queue == 0 && jobs.iter().all(|job| !job.is_unfinished()) {
                break;
            }
            now += later;
            let running: Vec<_> = (0..jobs.len()).filter(|index| jobs[*index].is_unfinished()).collect();
            if let Some(index) = running.get(which % running.len().max(1)) {
                // What a failed Job was to do is to be done again.
                queue += usize::from(!well);
                jobs[*index].state = if well { JobState::Succeeded(at(now)) } else { JobState::Failed(at(now)) };
            }
            failures.observe(&jobs, at(now));
            let plan = plan(&jobs, [limit, 0], HISTORY);
            prop_assert_eq!(plan.vacancies[1], 0);
            let mut gone: Vec<String> = plan.delete.iter().map(|job| job.name.clone()).collect();
            if failures.allow(MillType::LiquidLegionsV2, at(now)) {
                let more = plan.vacancies[0].min(queue);
                queue -= more;
                for _ in 0..more {
                    created += 1;
                    jobs.push(llv2(&format!("j{created}"), JobState::Unfinished));
                }
            }
            jobs.retain(|job| !gone.contains(&job.name));
            gone.clear();
            prop_assert!(jobs.iter().filter(|job| job.is_unfinished()).count() <= limit);
            prop_assert!(jobs.len() <= limit + HISTORY.successful + HISTORY.failed + 1);
        }
        prop_assert_eq!(queue, 0);
    }
}

#[test]
fn failures_in_a_row_hold_jobs_back_ever_longer() {
    let mut failures = Failures::new(seconds(10), seconds(60));
    let ours = MillType::LiquidLegionsV2;
    let mut jobs = Vec::new();
    assert!(failures.allow(ours, at(0)));
    for (second, expected) in [(100, 10), (200, 20), (300, 40), (400, 60), (500, 60)] {
        jobs.push(llv2(&format!("f{second}"), JobState::Failed(at(second))));
        let seen = failures.observe(&jobs, at(second)).len();
        assert_eq!(seen, 1, "each is counted once");
        assert!(failures.observe(&jobs, at(second)).is_empty());
        assert!(!failures.allow(ours, at(second + expected - 1)), "{second}");
        assert!(failures.allow(ours, at(second + expected)), "{second}");
        assert!(failures.allow(MillType::HonestMajorityShareShuffle, at(second)), "others go on");
    }
    jobs.push(llv2("s", JobState::Succeeded(at(501))));
    failures.observe(&jobs, at(502));
    assert!(failures.allow(ours, at(502)));
    jobs.push(llv2("f", JobState::Failed(at(503))));
    failures.observe(&jobs, at(503));
    assert!(failures.allow(ours, at(513)), "the count has begun anew");
}

#[test]
fn a_clock_that_is_set_back_does_not_hold_jobs_back_longer() {
    let mut failures = Failures::new(seconds(10), seconds(60));
    let ours = MillType::LiquidLegionsV2;
    failures.observe(&[llv2("f", JobState::Failed(at(10_000)))], at(10_000));
    assert!(!failures.allow(ours, at(10_009)));
    assert!(failures.allow(ours, at(5_000)));
}

#[test]
fn a_cluster_whose_clock_is_fast_does_not_hold_jobs_back_longer() {
    let mut failures = Failures::new(seconds(10), seconds(60));
    failures.observe(&[llv2("f", JobState::Failed(at(10_000)))], at(100));
    assert!(failures.allow(MillType::LiquidLegionsV2, at(110)));
}
