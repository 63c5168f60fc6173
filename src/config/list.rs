//! The list of `train`'s options with their meaning and every default.

/// Hands the list to the macro `$define`, by which this crate defines [`TrainOptions`](crate::config::TrainOptions)
/// and the command line its arguments. A doc comment is an option's help; in it, as in messages, `.name` in
/// backticks is the option of that name.
#[doc(hidden)]
#[macro_export]
macro_rules! train_options {
    ($define:ident) => {
        $define! {
            paths {
                /// Model directory, or a model of the hub: NAME, ORG/NAME or ORG/NAME@REVISION; the built-in starter
                /// if not given
                model,
                /// The reference: a model of the same sizes, as `.model`; the model before training if not given
                ref_model,
                /// Output directory; the first free runs/NAME-N if not given
                out,
                /// The folder that keeps the reference's log-probs and autotune's measurements; the user's cache
                /// directory if not given
                cache_dir,
                /// An adapter to go on with, beside its base `.model`: a folder that PEFT or a run with `.lora_rank` has
                /// written
                adapter,
            }
            lists {
                /// Pairs to train on: a file, a folder, a glob, - for standard input, or a data set of the hub as
                /// ORG/NAME, ORG/NAME:SPLIT or ORG/NAME:CONFIG:SPLIT; may be given several times
                data: std::path::PathBuf, "PATH", None;
                /// Pairs to evaluate on: as `.data`, or NAME=PATH, whose metrics begin with eval_NAME_; may be given
                /// several times, and the first decides which evaluation is best
                eval_data: std::path::PathBuf, "[NAME=]PATH", None;
                /// How often the pairs of each `.data` are taken: 2 = twice an epoch, 0.5 = half of them
                data_weights: f64, "WEIGHTS", ',';
            }
            unset {
                /// Save the weights of the evaluation after a step that is best by this metric, not those of the last
                /// step; needs `.eval_steps`
                save_best: $crate::config::BestMetric,
                /// Leave out pairs whose chosen score is not at least this much above the rejected one's
                min_score_margin: f64,
                /// The adapters' factor is this over their rank; twice the rank if not given
                lora_alpha: f64,
            }
            switches {
                /// Replace the run that the output directory holds
                overwrite,
                /// Take a response's mean log-prob of a token in place of the sum
                average_log_prob,
                /// Take the pairs in file order
                no_shuffle,
                /// Leave out records that cannot be used, and count them, instead of stopping at the first
                skip_bad_records,
                /// Leave out training pairs whose two scores are equal
                drop_ties,
                /// Leave out training pairs that came before, id by id
                dedupe,
                /// The space that ends the prompt goes to the response's first token, as in running text
                response_prefix_space,
                /// Special tokens spelled out in the data become their ids; otherwise they are text
                allow_special_tokens,
                /// Keep each layer's input only and compute the rest again in the backward pass: less memory,
                /// more time, the same numbers
                checkpoint_activations,
                /// Take no more than `.batch_size` pairs through the model at once, even on a GPU that has room for more of
                /// a step's
                no_grow,
                /// Compile shaders with bounds checks and zeroed workgroup memory
                checked,
                /// Take each kernel's usual variant instead of measuring which is fastest on this device
                no_autotune,
                /// Leave the GPU to others half of the time, in pieces of at most 8 ms: a slower run with the same result,
                /// for a computer that is in use
                gentle,
                /// Time every kernel: a table at the end and trace.json in the output directory, at the cost of a slower run
                profile,
                /// The adapters' factor is `.lora_alpha` over the root of their rank (rsLoRA)
                use_rslora,
                /// Train all but the embeddings, which are also the head
                freeze_embeddings,
            }
            values {
                /// Train adapters of this rank beside the linear layers in place of the model (LoRA); 0 = train the model
                lora_rank: usize = 0,
                /// The linear layers that get an adapter: all-linear, or some of c_attn,c_proj,c_fc, as PEFT's
                /// target_modules
                lora_targets: $crate::model::Targets = $crate::model::Targets::all(),
                /// Dropout before an adapter, which has to be 0: training has none
                lora_dropout: f64 = 0.0,
                /// Train the last so many layers and the final layernorm only; 0 = all
                train_layers: usize = 0,
                /// The loss to minimise; several with their weights as in sigmoid=1,sft=0.2
                loss: $crate::config::Losses = $crate::config::Losses::from($crate::ops::preference::Kind::Sigmoid),
                /// Add the loss sft with this weight, which keeps the chosen response's likelihood from falling; 0 = no
                sft_weight: f32 = 0.0,
                /// The share of labels that may be wrong: for the losses sigmoid, robust, exo_pair, aot, aot_unpaired and
                /// simpo
                label_smoothing: f32 = $crate::ops::preference::Settings::DEFAULT.label_smoothing,
                /// Over which margins the two parts of the loss discopop blend
                discopop_tau: f32 = $crate::ops::preference::Settings::DEFAULT.discopop_tau,
                /// The strength of the penalty of the loss dpop
                dpop_lambda: f32 = $crate::ops::preference::Settings::DEFAULT.dpop_lambda,
                /// By how much the two responses are to be apart in the loss simpo
                simpo_gamma: f32 = $crate::ops::preference::Settings::DEFAULT.simpo_gamma,
                /// The divergence from the reference: for the losses of the margin
                f_divergence_type: $crate::ops::preference::Divergence = $crate::ops::preference::Settings::DEFAULT.divergence,
                /// The alpha of `.f_divergence_type` alpha_divergence
                f_alpha_divergence_coef: f32 = $crate::ops::preference::Settings::DEFAULT.divergence_alpha,
                /// LD-DPO: what a token counts that is beyond the length of the other response, from 0 to 1
                ld_alpha: f32 = $crate::ops::preference::Settings::DEFAULT.ld_alpha,
                /// How micro-batches make up a step
                normalize: $crate::config::Normalize = $crate::config::Normalize::Pairs,
                /// Strength of the pull towards the reference; with orpo the weight of the odds
                beta: f32 = $crate::ops::preference::Settings::DEFAULT.beta,
                /// Peak learning rate
                learning_rate: f64 = 1e-5,
                /// Pairs of a micro-batch
                batch_size: usize = 4,
                /// Micro-batches of an optimizer step
                gradient_accumulation_steps: usize = 4,
                /// Passes over the pairs
                epochs: usize = 1,
                /// Take this many optimizer steps, whatever `.epochs` says; 0 = until the epochs are done
                max_steps: usize = 0,
                /// Take at most this many pairs of each `.data`; 0 = all
                limit: usize = 0,
                /// Pass over this many pairs of each `.data` first
                skip: usize = 0,
                /// Take at most this many pairs of each `.eval_data`; 0 = all
                eval_limit: usize = 0,
                /// Hold out about this share of `.data` in place of `.eval_data`, prompt by prompt; 0 = none
                eval_fraction: f64 = 0.0,
                /// Names of columns, as in chosen=better,rejected=answers.worst; NAME= leaves one out
                columns: String = String::new(),
                /// Budget of a prompt
                max_prompt_tokens: usize = 96,
                /// A longer response keeps its beginning
                max_response_tokens: usize = 64,
                /// The part of a longer prompt that is kept
                truncation: $crate::data::Truncation = $crate::data::Truncation::KeepEnd,
                /// The way to tokenize prompt and response: together or apart
                boundary: $crate::data::Boundary = $crate::data::Boundary::Apart,
                /// The template of a user's message, if the model has no chat template or this is given; \n is a
                /// newline
                template: String = $crate::data::DEFAULT_TEMPLATE.to_owned(),
                /// The template of conversations: auto (the model's own chat template if it has one, else
                /// `.template`), card (`.template`), model, or a file with a Jinja template
                chat_template: String = $crate::config::TemplateChoice::AUTO.to_owned(),
                /// AdamW's β1: the share of the mean gradient that a step keeps
                adam_beta1: f64 = $crate::ops::adamw::Settings::DEFAULT.beta1,
                /// AdamW's β2: the same for the mean square
                adam_beta2: f64 = $crate::ops::adamw::Settings::DEFAULT.beta2,
                /// AdamW's ε, beside the root of the mean square
                adam_epsilon: f64 = $crate::ops::adamw::Settings::DEFAULT.epsilon,
                /// AdamW's decoupled weight decay
                weight_decay: f64 = $crate::ops::adamw::Settings::DEFAULT.weight_decay,
                /// Which parameters decay
                decay: $crate::config::DecayName = $crate::config::DecayName::All,
                /// Clip the gradient to this norm; 0 = do not clip
                max_grad_norm: f32 = 1.0,
                /// The learning rate's course after the warm-up
                lr_scheduler: $crate::schedule::SchedulerName = $crate::schedule::SchedulerName::Constant,
                /// Steps over which the learning rate rises from 0
                warmup_steps: usize = 0,
                /// The same as a share of all steps, rounded up
                warmup_ratio: f64 = 0.0,
                /// Where the learning rate ends, as a share of its peak: for cosine_with_min_lr and wsd
                min_lr_rate: f64 = 0.0,
                /// Steps of the fall at the end of wsd
                decay_steps: usize = 0,
                /// Seed of the order of the pairs, and of new adapters
                seed: u64 = 13,
                /// Evaluate every so many steps too; 0 = before the first step and at the end only
                eval_steps: usize = 0,
                /// Show greedy answers to so many of the held-out prompts at each evaluation, 0 = none; or to the messages
                /// in a file, one a line
                sample_prompts: String = "3".to_owned(),
                /// Stop after so many evaluations without a better one, by the metric of `.save_best`, that before the
                /// first step not counted; 0 = never
                early_stopping_patience: usize = 0,
                /// Save a checkpoint every so many steps; 0 = not by steps
                save_steps: usize = 0,
                /// Save a checkpoint when so many minutes have passed since the last; 0 = not by time
                save_minutes: f64 = 10.0,
                /// Keep so many checkpoints, the newest, and that of the best evaluation; 0 = all
                save_total_limit: usize = 2,
                /// Compute a micro-batch on the CPU too, every so many steps, and stop if the device is wrong; 0 = never
                audit_steps: usize = 0,
                /// Open the device anew so many times if it is lost, and go on from the last checkpoint
                retries: usize = 0,
                /// TR-DPO: move the reference towards the policy every so many steps; needs `.reference` on-the-fly; 0 = never
                sync_ref_steps: usize = 0,
                /// How much of the way the reference then goes; 1 = it becomes the policy
                sync_ref_alpha: f32 = 0.6,
                /// The source of the reference's log-probs
                reference: $crate::config::ReferenceMode = $crate::config::ReferenceMode::Cached,
                /// auto, cpu, an index or a part of a name from `gpt2-dpo devices`
                device: String = "auto".to_owned(),
                /// Which graphics API to use
                backend: $crate::device::BackendName = $crate::device::BackendName::Auto,
                /// In what matrix products are multiplied
                precision: $crate::target::Precision = $crate::target::Precision::F32,
                /// Split weights into buffers of at most this many MiB; 0 = as large as the device binds
                max_binding_mib: usize = 0,
            }
        }
    };
}
