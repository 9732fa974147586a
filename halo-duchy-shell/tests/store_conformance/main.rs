//! What every [`Store`] must do, written once over the trait and run on each backend.

mod fixture;
mod inspection;
mod leases;
mod lifecycle;
mod model;
#[cfg(feature = "postgres")]
mod postgres;
mod requisitions;
mod retention;
#[cfg(feature = "spanner")]
mod spanner;
mod sqlite;
mod transfer;

use fixture::Harness;

/// Runs tests on a backend: `$open` makes a [`Harness`] over an empty store, if the machine has what that needs.
macro_rules! tests {
    ($backend:ident, $open:expr, { $($module:ident: [$($test:ident),* $(,)?]),* $(,)? }) => {
        mod $backend {
            $(mod $module {
                $(#[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    if let Some(harness) = $open {
                        crate::$module::$test(harness).await;
                    }
                })*
            })*
        }
    };
}

/// Runs the suite on a backend.
macro_rules! conformance {
    ($backend:ident, $open:expr) => {
        tests!($backend, $open, {
            lifecycle: [
                a_new_computation_is_queued_in_its_initial_stage,
                a_computation_is_created_once,
                a_requisition_belongs_to_one_computation,
                details_are_of_the_protocol,
                unknown_computations_are_not_found,
                every_role_of_every_protocol_walks_to_its_last_stage,
                inputs_are_handed_on_where_the_protocol_says,
                no_other_step_is_allowed,
                outputs_come_before_the_step,
                an_output_is_recorded_once,
                a_stale_token_changes_nothing,
                a_token_without_the_lease_changes_nothing,
                versions_increase_whatever_the_clock_does,
                a_computation_ends_from_every_stage,
                an_ended_computation_has_no_secret_any_more,
                a_computation_ends_once,
                of_those_who_create_the_same_one_succeeds,
            ],
            inspection: [
                an_attempt_keeps_why_it_did_not_succeed,
                a_record_has_all_that_happened,
                lists_are_ordered_and_cut,
            ],
            leases: [
                the_oldest_work_comes_first_but_for_prioritized_stages,
                work_is_claimed_once,
                work_is_claimed_by_protocol,
                a_lease_that_ran_out_is_taken_over,
                a_lease_is_extended_beside_the_work,
                a_lost_lease_is_not_extended,
                work_given_back_waits_for_its_delay,
                interrupted_attempts_are_counted_by_themselves,
                only_the_owner_gives_work_back,
                waiting_is_not_work,
                racing_claimers_never_get_the_same_work,
                of_two_claimers_one_gets_the_work,
            ],
            requisitions: [
                a_fulfillment_leaves_the_version,
                a_requisition_is_fulfilled_once,
                a_fulfillment_names_a_requisition_of_the_computation,
                new_details_keep_what_a_fulfillment_recorded,
                an_unknown_requisition_spoils_the_whole_update,
                racing_fulfillments_are_all_kept,
            ],
            retention: [
                all_blobs_of_all_stages_are_listed,
                a_deleted_computation_is_gone,
                ended_computations_expire_page_by_page,
                computations_are_listed_by_stage,
                a_stat_needs_its_attempt,
                the_continuation_token_never_goes_back,
                racing_heralds_never_go_back,
            ],
        });
    };
}

conformance!(on_sqlite, Some(crate::sqlite::open()));
#[cfg(feature = "postgres")]
conformance!(on_postgres, crate::postgres::open().await);
#[cfg(feature = "postgres")]
conformance!(on_postgres_with_faults, crate::postgres::open_with_faults().await);
#[cfg(feature = "spanner")]
conformance!(on_spanner, crate::spanner::open().await);
#[cfg(feature = "spanner")]
conformance!(on_spanner_with_faults, crate::spanner::open_with_faults().await);
