//! The scenarios of the first cluster, played by the stock kubectl. Their numbers are those of the requirements.

mod apply;
mod configuration;
mod discovery;
mod namespaces;
mod node;
mod pods;
mod services;
mod workloads;

use ironclad_tests::{Scenario, play, scenarios};

#[test]
#[expect(clippy::too_many_lines, reason = "a list")]
fn the_stock_kubectl_works() {
    let all = scenarios![
        workloads::{
            s_000_04_first_deployment,
            s_000_10_set_image,
            s_000_14_rollout_commands,
            s_000_15_scale,
            s_000_33_create_and_self_heal,
            s_000_34_describe,
            s_000_35_edit,
            s_000_36_recreate,
            s_000_37_rollback,
            s_000_105_apply_keeps_what_others_set,
            s_003_06_deployment_logs_exec,
            s_003_07_wrong_create,
            s_003_08_self_healing_watch,
            s_003_10_scale_and_edit,
            s_003_11_rolling_upgrade,
            s_003_12_history_and_rollback,
        },
        services::{
            s_000_08_expose,
            s_000_32_namespace_is_not_isolation,
            s_000_62_service,
            s_000_64_endpoints_follow_pods,
            s_000_71_readiness,
            s_003_16_node_port_by_yaml,
            s_003_17_other_types,
            s_003_33_churn_is_hidden,
            s_003_37_three_networks,
        },
        pods::{
            s_000_09_run,
            s_000_13_delete_forms,
            s_000_18_exec_logs_cp,
            s_000_18_port_forward,
            s_000_19_patch,
            s_000_21_pod_life_cycle,
            s_000_22_termination,
            s_000_23_env,
            s_000_24_command,
            s_000_25_hooks,
            s_000_26_http_probe,
            s_000_27_tcp_probe,
            s_000_28_exec_probe,
            s_000_29_custom_timing,
            s_000_30_labels,
            init_containers_run_in_order,
            s_000_61_pod_network,
            s_000_80_empty_dir,
            s_000_82_host_path,
            s_000_102_sidecar,
            s_003_03_imperative_pod,
            s_003_05_two_containers,
            s_003_35_node_selector,
            a_missing_image_is_told,
            a_crash_is_restarted,
        },
        configuration::{
            s_000_56_config_map_env,
            s_000_57_config_map_volume,
            s_000_58_secret_env,
            s_000_59_secret_volume,
            s_000_89_permanent_token,
            s_000_92_rbac,
            s_003_25_config_map_commands,
            s_003_26_config_maps_by_yaml,
            s_003_27_config_map_from_files,
            s_003_28_redis,
            s_003_29_secrets,
        },
        namespaces::{
            s_003_01_initial_namespaces,
            s_003_02_create_and_delete,
            pods_leave_a_namespace_before_what_they_were_given,
        },
        discovery::{
            s_000_05_cluster_info,
            s_000_06_get_nodes,
            s_000_07_get_variants,
            s_000_11_replace,
            s_000_12_explain,
            s_000_16_autoscale,
            s_000_20_discovery,
            s_000_31_namespaces,
            s_000_99_quota,
            s_000_100_limit_range,
            apply_and_diff,
            invalid_objects_are_refused,
        },
        apply::{
            an_unchanged_manifest_is_unchanged,
            from_client_side_to_server_side,
            conflicts_are_shown_and_forced,
            patches_of_every_sort,
            unknown_fields_are_told,
        },
    ];
    play(&[&all[..], &node()].concat());
}

fn node() -> Vec<Scenario> {
    scenarios![
        node::{
            what_a_container_may_do,
            volumes_follow_their_sources,
            a_pod_waits_for_its_config_map,
            paths_in_volumes_do_not_lead_out,
            sidecars_begin_first_and_end_last,
            debugging_adds_a_container,
            probes_end_what_is_not_well,
            a_pod_ends_with_its_deadline,
            rules_restart_a_container,
            last_words_are_kept,
            memory_has_a_limit,
            a_volume_that_grows_too_large_ends_its_pod,
            a_running_pod_is_resized,
            the_node_refuses_what_it_cannot_have,
            images_are_refused_by_name,
            mounts_propagate_as_they_are_told,
            https_probes_trust_any_certificate,
            a_pod_has_users_of_its_own,
            an_image_is_for_those_who_could_pull_it,
            logs_show_what_is_asked_for,
            what_ends_at_once_is_seen_by_who_attaches,
            the_kubelet_tells_what_runs,
        },
    ]
    .to_vec()
}
