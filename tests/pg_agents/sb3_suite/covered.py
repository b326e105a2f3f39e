"""Which test of ours stands for which of Stable-Baselines3's.

The names are those of the tests of version 2.9.2 (folder `tests` of its source
distribution). Ours are relative to this folder.
"""

from __future__ import annotations

# Tests of A2C, and of PPO alone where they ask for what every on-policy algorithm does.
COVERED: dict[str, tuple[str, ...]] = {
    "test_buffers::test_custom_rollout_buffer": (
        "test_buffer::test_sb3s_buffers_mean_the_ordinary_one",
        "test_buffer::test_a_users_buffer_extends_ours",
    ),
    "test_callbacks::test_callbacks": (
        "test_callbacks::test_all_stock_callbacks_work_together",
        "test_callbacks::test_lists_functions_and_none_are_callbacks",
        "test_callbacks::test_training_stops_at_the_episode_that_is_the_last_one",
        "test_callbacks::test_both_progress_bars_count_the_steps",
    ),
    "test_callbacks::test_callbacks_can_cancel_runs": (
        "test_callbacks::test_any_kind_of_false_stops_at_once",
    ),
    "test_callbacks::test_checkpoint_additional_info": (
        "test_callbacks::test_checkpoints_keep_the_normalisation",
    ),
    "test_callbacks::test_eval_callback_chaining": (
        "test_callbacks::test_callbacks_know_the_evaluation_that_calls_them",
    ),
    "test_callbacks::test_eval_callback_logs_are_written_with_the_correct_timestep": (
        "test_callbacks::test_all_stock_callbacks_work_together",
    ),
    "test_callbacks::test_eval_callback_vec_env": (
        "test_callbacks::test_evaluates_in_several_environments",
    ),
    "test_callbacks::test_eval_friendly_error": (
        "test_callbacks::test_evaluation_shares_the_normalisation_or_says_so",
    ),
    "test_cnn::test_channel_first_env": (
        "test_observations::test_images_are_transposed_if_they_must_be_and_come_back_"
        "from_a_file",
    ),
    "test_cnn::test_cnn": (
        "test_observations::test_images_are_transposed_if_they_must_be_and_come_back_"
        "from_a_file",
    ),
    "test_cnn::test_image_like_input": (
        "test_observations::test_normalised_images_need_normalize_images_off",
    ),
    "test_cnn::test_vec_transpose_skip": (
        "test_observations::test_stacked_images_that_look_transposed_are_left_alone",
    ),
    "test_custom_policy::test_custom_optimizer": (
        "test_policies::test_the_optimiser_is_the_users",
    ),
    "test_custom_policy::test_flexible_mlp": (
        "test_policies::test_net_arch_gives_the_widths_of_the_layers",
    ),
    "test_custom_policy::test_tf_like_rmsprop_optimizer": (
        "test_policies::test_learns_with_the_rmsprop_of_tensorflow",
    ),
    "test_deterministic::test_deterministic_training_common": (
        "test_learning::test_the_same_seed_learns_and_acts_the_same",
    ),
    "test_dict_env::test_consistency": (
        "test_observations::test_a_dict_of_one_vector_is_that_vector",
    ),
    "test_dict_env::test_dict_nested": (
        "test_observations::test_the_wrong_policy_for_a_dict_is_refused",
    ),
    "test_dict_env::test_dict_spaces": (
        "test_observations::test_dicts_of_images_vectors_and_numbers",
    ),
    "test_dict_env::test_dict_vec_framestack": (
        "test_observations::test_dicts_are_stacked_entry_by_entry",
    ),
    "test_dict_env::test_goal_env": (
        "test_observations::test_goals_are_learnt_and_evaluated",
    ),
    "test_dict_env::test_multiprocessing": (
        "test_wrappers::test_dicts_come_from_other_processes",
        "test_wrappers::test_learns_the_same_in_other_processes",
    ),
    "test_dict_env::test_policy_hint": (
        "test_observations::test_the_wrong_policy_for_a_dict_is_refused",
    ),
    "test_dict_env::test_vec_normalize": (
        "test_wrappers::test_chosen_entries_of_a_dict_are_normalised",
    ),
    "test_distributions::test_get_distribution": (
        "test_policies::test_every_way_to_ask_the_policy_agrees",
    ),
    "test_distributions::test_predict_values": (
        "test_policies::test_every_way_to_ask_the_policy_agrees",
    ),
    "test_distributions::test_squashed_gaussian": (
        "test_policies::test_a_squashed_gaussian_learns_without_an_entropy",
    ),
    "test_gae::test_gae_computation": (
        "test_learning::test_advantages_are_those_of_a_constant_critic",
        "test_learning::test_the_weights_of_reinforce_are_the_returns",
    ),
    "test_gae::test_infinite_horizon": (
        "test_learning::test_a_time_limit_does_not_shorten_what_the_critic_expects",
    ),
    "test_identity::test_continuous": (
        "test_learning::test_learns_to_say_a_number_that_it_sees",
    ),
    "test_identity::test_discrete": ("test_learning::test_learns_to_say_what_it_sees",),
    "test_logger::test_ep_buffers_stats_window_size": (
        "test_logging::test_means_go_over_the_last_episodes",
    ),
    "test_logger::test_fps_logger": (
        "test_logging::test_frames_per_second_are_those_of_this_call",
    ),
    "test_logger::test_fps_no_div_zero": (
        "test_logging::test_a_clock_that_stands_still_divides_nothing_by_zero",
    ),
    "test_logger::test_rollout_success_rate_onpolicy_algo": (
        "test_logging::test_successes_are_counted",
    ),
    "test_logger::test_set_logger": (
        "test_logging::test_what_is_written_where",
        "test_logging::test_a_logger_that_was_set_stays",
    ),
    "test_predict::test_auto_wrap": (
        "test_run::test_a_single_environment_is_wrapped_and_monitored_once",
    ),
    "test_predict::test_mixing_gym_vecenv_api": (
        "test_run::test_what_reset_returns_is_no_observation",
    ),
    "test_predict::test_predict": (
        "test_run::test_predicts_for_one_environment_and_for_several",
    ),
    "test_predict::test_subclassed_space_env": (
        "test_run::test_a_subclass_of_a_space_is_that_space",
    ),
    "test_run::test_a2c": ("test_run::test_learns_discrete_and_continuous_actions",),
    "test_run::test_advantage_normalization": (
        "test_run::test_advantages_are_standardised_if_asked",
    ),
    "test_save_load::test_cast_lr_schedule": (
        "test_save_load::test_learning_rates_are_plain_floats",
    ),
    "test_save_load::test_exclude_include_saved_params": (
        "test_save_load::test_attributes_are_left_out_put_in_and_replaced",
    ),
    "test_save_load::test_load_bad_zip": (
        "test_save_load::test_a_file_that_is_no_zip_is_refused",
    ),
    "test_save_load::test_load_invalid_object": (
        "test_save_load::test_an_object_that_cannot_be_unpickled_is_replaced",
    ),
    "test_save_load::test_no_resource_warning": (
        "test_save_load::test_files_are_closed_unless_they_are_the_callers",
    ),
    "test_save_load::test_save_load": (
        "test_save_load::test_parameters_that_do_not_fit_are_refused",
        "test_save_load::test_a_model_comes_back_and_learns_on",
        "test_save_load::test_a_compiled_policy_is_saved_as_what_it_was",
    ),
    "test_save_load::test_save_load_backward_compatible": (
        "test_save_load::test_schedules_come_back",
    ),
    "test_save_load::test_save_load_clip_range_portable": (
        "test_save_load::test_schedules_come_back",
    ),
    "test_save_load::test_save_load_env_cnn": (
        "test_save_load::test_an_image_environment_is_wrapped_again_on_loading",
    ),
    "test_save_load::test_save_load_net_arch_none": (
        "test_save_load::test_net_arch_none_is_the_usual_one",
    ),
    "test_save_load::test_save_load_policy": (
        "test_save_load::test_a_policy_alone_comes_back",
    ),
    "test_save_load::test_set_env": (
        "test_save_load::test_environments_are_exchanged_and_steps_counted_on",
    ),
    "test_sde::test_only_sde_squashed": (
        "test_policies::test_gsde_wants_continuous_actions_and_squashing_wants_gsde",
    ),
    "test_sde::test_sde_check": (
        "test_policies::test_gsde_wants_continuous_actions_and_squashing_wants_gsde",
    ),
    "test_sde::test_state_dependent_noise": (
        "test_policies::test_gsde_explores_within_the_bounds",
    ),
    "test_spaces::test_action_spaces": (
        "test_run::test_actions_arrive_in_their_space_and_dtype",
    ),
    "test_spaces::test_discrete_obs_space": (
        "test_run::test_discrete_observations_are_one_hot",
    ),
    "test_spaces::test_float64_action_space": (
        "test_run::test_actions_arrive_in_their_space_and_dtype",
    ),
    "test_spaces::test_multidim_binary_not_supported": (
        "test_run::test_tables_of_binary_actions_are_refused",
    ),
    "test_tensorboard::test_tensorboard": (
        "test_logging::test_runs_are_numbered_unless_they_go_on",
    ),
    "test_train_eval_mode::test_a2c_ppo_collect_rollouts_with_batch_norm": (
        "test_policies::test_batch_norm_sees_the_update_and_not_the_rollout",
    ),
    "test_train_eval_mode::test_a2c_ppo_train_with_batch_norm": (
        "test_policies::test_batch_norm_sees_the_update_and_not_the_rollout",
    ),
    "test_train_eval_mode::test_predict_with_dropout_batch_norm": (
        "test_policies::test_predictions_drop_nothing_out",
    ),
    "test_utils::test_env_auto_monitor_wrap": (
        "test_run::test_a_single_environment_is_wrapped_and_monitored_once",
    ),
    "test_utils::test_evaluate_policy": (
        "test_learning::test_evaluation_plays_whole_episodes",
    ),
    "test_utils::test_evaluate_policy_monitors": (
        "test_learning::test_evaluation_reads_the_monitor_or_warns",
    ),
    "test_utils::test_evaluate_vector_env": (
        "test_learning::test_evaluation_counts_episodes_over_environments",
    ),
    "test_vec_check_nan::test_check_nan": (
        "test_wrappers::test_what_is_not_a_number_is_found",
    ),
    "test_vec_envs::test_video_recorder": (
        "test_wrappers::test_videos_record_what_the_learner_does",
        "test_wrappers::test_videos_are_written",
    ),
    "test_vec_extract_dict_obs::test_vec_with_ppo": (
        "test_wrappers::test_one_entry_of_a_dict_is_extracted",
    ),
    "test_vec_monitor::test_vec_monitor_ppo": (
        "test_wrappers::test_episodes_are_monitored_in_the_vector_environment",
    ),
    "test_vec_normalize::test_sync_vec_normalize": (
        "test_wrappers::test_normalisation_is_saved_beside_the_model",
    ),
}

# Why the others have no counterpart; "file::*" stands for those not named otherwise.
NOT_COVERED: dict[str, tuple[str, ...]] = {
    "off-policy only": (
        "test_callbacks::test_eval_success_logging",
        "test_cnn::test_features_extractor_target_net",
        "test_custom_policy::test_custom_offpolicy",
        "test_custom_policy::test_dqn_custom_policy",
        "test_her::*",
        "test_n_step_replay::*",
        "test_predict::test_dqn_epsilon_greedy",
        "test_run::test_deterministic_pg",
        "test_run::test_dqn",
        "test_run::test_n_critics",
        "test_run::test_offpolicy_multi_env",
        "test_run::test_sac",
        "test_run::test_train_freq",
        "test_run::test_train_freq_fail",
        "test_run::test_warn_dqn_multi_env",
        "test_save_load::test_dqn_target_update_interval",
        "test_save_load::test_save_load_large_model",
        "test_save_load::test_save_load_no_target_params",
        "test_save_load::test_save_load_pytorch_var",
        "test_save_load::test_save_load_q_net",
        "test_save_load::test_save_load_replay_buffer",
        "test_save_load::test_warn_buffer",
        "test_spaces::test_identity_spaces",
        "test_spaces::test_sde_multi_dim",
        "test_train_eval_mode::*",
        "test_vec_normalize::test_her_normalization",
        "test_vec_normalize::test_offpolicy_normalization",
    ),
    # Buffers, distributions, loggers, wrappers and tools by themselves, and what PPO
    # alone warns of.
    "not about A2C": (
        "test_buffers::*",
        "test_cnn::test_image_space_checks",
        "test_custom_policy::test_create_mlp",
        "test_dict_env::*",
        "test_distributions::*",
        "test_env_checker::*",
        "test_envs::*",
        "test_gae::*",
        "test_logger::*",
        "test_monitor::*",
        "test_predict::test_env",
        "test_preprocessing::*",
        "test_run::test_ppo",
        "test_run::test_ppo_warnings",
        "test_save_load::test_open_file",
        "test_save_load::test_open_file_str_pathlib",
        "test_save_load::test_open_path_directory_and_missing_parent",
        "test_sde::test_state_dependent_exploration_grad",
        "test_spaces::test_env",
        "test_tensorboard::test_escape_log_name",
        "test_utils::*",
        "test_vec_envs::*",
        "test_vec_extract_dict_obs::*",
        "test_vec_monitor::*",
        "test_vec_normalize::*",
        "test_vec_stacked_obs::*",
    ),
}
