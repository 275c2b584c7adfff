//! The scenarios of the first cluster, played by the stock kubectl. Their numbers are those of the requirements.

mod configuration;
mod discovery;
mod pods;
mod services;
mod workloads;

use ironclad_tests::{play, scenarios};

#[test]
fn the_stock_kubectl_works() {
    play(&scenarios![
        workloads::{
            s_000_04_first_deployment,
            s_000_10_set_image,
            s_000_14_rollout_commands,
            s_000_15_scale,
            s_000_33_create_and_self_heal,
            s_000_34_describe,
            s_000_36_recreate,
            s_000_37_rollback,
            s_000_105_apply_keeps_what_others_set,
        },
        services::{
            s_000_08_expose,
            s_000_32_namespace_is_not_isolation,
            s_000_62_service,
            s_000_64_endpoints_follow_pods,
            s_000_71_readiness,
        },
        pods::{
            s_000_09_run,
            s_000_13_delete_forms,
            s_000_18_exec_logs_cp,
            s_000_19_patch,
            s_000_21_pod_life_cycle,
            s_000_22_termination,
            s_000_23_env,
            s_000_24_command,
            s_000_25_hooks,
            s_000_26_http_probe,
            s_000_27_tcp_probe,
            s_000_28_exec_probe,
            s_000_30_labels,
            init_containers_run_in_order,
            s_000_80_empty_dir,
        },
        configuration::{
            s_000_56_config_map_env,
            s_000_57_config_map_volume,
            s_000_58_secret_env,
            s_000_59_secret_volume,
            s_000_89_permanent_token,
            s_000_92_rbac,
        },
        discovery::{
            s_000_05_cluster_info,
            s_000_06_get_nodes,
            s_000_07_get_variants,
            s_000_12_explain,
            s_000_16_autoscale,
            s_000_20_discovery,
            s_000_31_namespaces,
            apply_and_diff,
        },
    ]);
}
