//! The cases, by what they are about. A name is the situation and the outcome.

mod ephemerals;
mod membership;
mod multi;
mod nodes;
mod sequences;
mod servers;
mod sessions;
mod unknown;
mod view;
mod watches;

use std::{future::Future, pin::Pin};

use crate::bed::Bed;

pub struct Case {
    pub name: &'static str,
    pub run: fn(Bed) -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

macro_rules! cases {
    ($($module:ident { $($case:ident)* })*) => {
        &[$($(Case {
            name: concat!(stringify!($module), "::", stringify!($case)),
            run: |bed| Box::pin($module::$case(bed)),
        }),*),*]
    };
}

/// Cases that get along with others on the same servers.
pub const SHARED: &[Case] = cases! {
    nodes {
        a_created_node_is_read_back_at_version_zero
        a_missing_node_reads_as_none_without_children
        create_makes_missing_parents_persistent_and_empty
        creating_an_existing_node_is_refused
        set_counts_versions
        set_of_a_missing_node_is_refused
        set_with_an_old_version_is_refused_and_changes_nothing
        a_version_that_cannot_be_is_refused
        delete_with_an_old_version_is_refused
        deleting_a_missing_node_is_refused
        a_node_with_children_is_not_deleted
        children_are_sorted_and_direct_ones_only
        a_recreated_node_starts_at_version_zero
        empty_and_binary_bytes_survive
        a_node_at_the_limit_is_kept_and_past_it_refused
        malformed_paths_are_refused
        of_racing_writers_on_one_version_one_wins
        writes_of_others_are_seen_after_sync
    }
    sequences {
        sequential_names_grow_and_sort
        a_sequential_number_is_never_given_again
        two_sessions_get_different_numbers
        a_sequential_prefix_may_end_in_a_slash
    }
    ephemerals {
        an_ephemeral_node_names_its_session
        an_ephemeral_node_vanishes_on_close
        an_ephemeral_node_vanishes_after_its_session_was_dropped
        an_ephemeral_node_has_no_children
        closing_one_session_leaves_the_nodes_of_another
        a_node_of_an_earlier_session_is_told_apart
        a_replaced_node_survives_the_expiry_of_its_first_session
        the_lowest_of_three_candidates_leads_until_it_goes
    }
    multi {
        all_steps_are_applied_and_reported
        a_failed_check_applies_nothing_and_names_its_path
        a_check_of_a_missing_node_fails
        a_step_sees_the_ones_before_it
        created_nodes_get_their_parents
        a_sequential_create_reports_its_path
        an_existing_node_fails_the_whole
        no_steps_do_nothing
        too_many_or_too_large_steps_are_refused
        a_deposed_leader_is_fenced_by_its_epoch
    }
    watches {
        create_set_and_delete_are_told_at_and_below_the_path
        a_missing_node_can_be_watched
        a_watch_tells_again_and_again
        neighbours_with_the_same_beginning_are_not_told
        two_watches_on_one_path_both_tell
        a_path_can_be_watched_again_after_its_watch_was_dropped
        a_watch_ends_with_its_session
        a_break_is_told_as_lost_and_later_changes_are_told
        a_change_during_a_break_is_found_by_reading_again
        the_end_of_another_session_is_told
    }
    sessions {
        a_new_session_is_connected_and_has_its_own_id
        operations_without_connection_fail_and_are_never_applied
        a_short_break_keeps_the_session_and_its_nodes
        expiry_while_disconnected_is_learned_on_return
        expiry_while_disconnected_is_assumed_without_return
        an_expired_session_refuses_everything
        a_closed_session_refuses_everything_for_good
        a_new_session_takes_over_after_expiry
        an_unreachable_coordinator_is_named_in_bounded_time
    }
    unknown {
        a_write_whose_answer_is_lost_is_unknown_and_applied
        a_write_that_is_lost_is_unknown_and_not_applied
        a_repeated_compare_and_set_finds_out_what_happened
        an_unknown_sequential_node_is_found_by_its_owner
        an_unknown_multi_is_all_or_nothing
        an_unknown_create_of_an_ephemeral_node_is_settled_by_its_owner
    }
    membership {
        a_member_that_joined_is_live_and_known
        a_member_that_left_is_known_to_have_left
        a_member_that_crashed_is_known_and_not_live
        a_member_joins_again_in_a_new_session
        a_late_leave_does_not_touch_the_next_process
        shard_ids_are_given_once
        shard_ids_end_at_the_limit
    }
    view {
        a_view_follows_the_registers
        a_view_follows_members_and_the_leader
        a_view_keeps_the_route_of_a_vanished_primary
        a_view_catches_up_after_a_break
        a_view_goes_on_with_a_new_session_and_never_goes_back
        a_refreshed_view_has_what_was_written_before
        a_register_of_a_newer_format_is_a_problem_and_changes_nothing
        a_shard_that_cannot_be_used_is_a_problem_of_its_own
        the_same_revision_is_the_same_route_whoever_lives
    }
};

/// Cases that stop servers, and one that compares how long two sides wait.
pub const EXCLUSIVE: &[Case] = cases! {
    sessions {
        nodes_of_a_cut_off_session_vanish_before_its_owner_knows
    }
    servers {
        a_killed_leader_costs_no_session_node_or_watch
        a_paused_leader_is_survived
        an_outage_of_all_servers_is_survived
    }
};
