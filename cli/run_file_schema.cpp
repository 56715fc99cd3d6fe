#include "cli/run_file.hpp"
#include "cli/setting_names.hpp"

namespace troupe {

using config::above;
using config::at_least;
using config::from_to;
using config::from_to_below;
using config::schema;

namespace {

// Bounds of common sense, as a model's: no run is larger, and sums and products of them stay within 64 bits.
constexpr double extent_max = transformer_settings::extent_max;
constexpr double lanes_max = 4096;
constexpr double steps_max = 1e15;

void describe_model(schema& root, model_kind& kind, transformer_settings& model) {
  auto& t = root.table("model", "The transformer. `kind` sets the defaults of all other keys.");
  t.key("kind", kind, "where defaults come from");
  t.key("vocabulary", model.vocabulary, "tokens; 0: as many as the tokenizer has",
        from_to(0, transformer_settings::vocabulary_max));
  t.key("context", model.context, "tokens of a sample: the most positions a sequence has", from_to(1, extent_max));
  t.key("layers", model.layers, "transformer blocks", from_to(1, transformer_settings::layers_max));
  t.key("heads", model.heads, "attention heads of each block", from_to(1, extent_max));
  t.key("kv_heads", model.kv_heads, "heads of keys and values; 0: as many as heads", from_to(0, extent_max));
  t.key("channels", model.channels, "width of the residual stream", from_to(1, extent_max));
  t.key("feed_forward_channels", model.feed_forward_channels,
        "width inside a feed-forward block; 0: 4 x channels, for swiglu 8/3 x channels rounded up to 32",
        from_to(0, extent_max));
  t.key("positions", model.positions, "how positions enter");
  t.key("norm", model.norm, "normalisation");
  t.key("feed_forward", model.feed_forward, "non-linearity of the feed-forward block");
  t.key("bias", model.bias, "biases in linear layers and normalisations");
  t.key("tied_head", model.tied_head, "the head shares the embedding's weights");
  t.key("dropout", model.dropout, "probability of dropping", from_to_below(0, 1));
  t.key("norm_epsilon", model.norm_epsilon, "added under the root", above(0));
  t.key("rotary_theta", model.rotary_theta, "base of rotary wavelengths", above(0));
  t.key("initial_deviation", model.initial_deviation, "standard deviation of initial weights", at_least(0));
}

void describe_data(schema& root, data_settings& data) {
  auto& t = root.table("data", "The text, its tokenizer, and the order of samples.");
  t.key("path", data.path, "a file, a folder, or a glob of token shards");
  t.key("source", data.source, "what stands there");
  t.key("glob", data.glob, "folder: which file names");
  t.key("file_bytes_max", data.file_bytes_max, "folder: larger files are left out", at_least(1));
  t.key("field", data.field, "json_lines: the field that holds the text");
  t.key("tokenizer", data.tokens.algorithm, "how text becomes tokens");
  t.key("tokenizer_model", data.tokens.model, "sentencepiece: a model file; empty: train one on the text. byte_pairs: a tokenizer.json, as GPT-2's");
  t.key("tokenizer_vocabulary", data.tokens.vocabulary, "sentencepiece: pieces of a trained model",
        from_to(2, 1 << 20));
  t.key("order", data.order, "of samples");
  t.key("validation_fraction", data.validation_fraction, "of the tokens, the last ones", from_to_below(0, 1));
  t.key("cache", data.cache, "folder for tokenised text; empty: ~/.cache/troupe");
}

void describe_training(schema& root, training_settings& training) {
  auto& t = root.table("training", "How long, with how many logical workers, on how much at once.");
  t.key("steps", training.steps, "updates of the parameters", from_to(1, steps_max));
  t.key("lanes", training.lanes, "logical data-parallel workers, fixed for the life of a job", from_to(1, lanes_max));
  t.key("batch", training.batch, "sequences per step, over all lanes", from_to(1, extent_max));
  t.key("accumulation", training.accumulation, "micro-batches per lane and step", from_to(1, lanes_max));
  t.key("clip", training.clip, "global norm that gradients are clipped to; 0: not at all", at_least(0));
  t.key("on_divergence", training.on_divergence,
        "what to do when a loss or a gradient is not finite: end the run before a cut is written of it, or only warn");
  t.key("seed", training.seed, "of initial weights, sample order and dropout");
  t.key("recompute", training.recompute,
        "blocks that recompute activations in the backward pass: \"none\", \"all\", or ranges such as \"0-3,7\"");
  t.key("precision", training.precision,
        "of passes, over parameters in float32; tf32: of products only; automatic: bfloat16 on a GPU, else float32");
}

void describe_optimizer(schema& root, optimizer_settings& optimizer) {
  auto& t = root.table("optimizer", "The update rule.");
  t.key("kind", optimizer.algorithm, "the rule");
  t.key("learning_rate", optimizer.learning_rate, "the schedule's peak", above(0));
  t.key("beta1", optimizer.beta1, "adamw, lion: decay of the first moment", from_to_below(0, 1));
  t.key("beta2", optimizer.beta2, "adamw, lion: decay of the second moment", from_to_below(0, 1));
  t.key("epsilon", optimizer.epsilon, "adamw: added to the root", above(0));
  t.key("momentum", optimizer.momentum, "sgd, muon (where 0 means 0.95)", from_to_below(0, 1));
  t.key("nesterov", optimizer.nesterov, "sgd, muon: look ahead");
  t.key("weight_decay", optimizer.weight_decay, "of matrices", at_least(0));
  t.key("state_type", optimizer.state_type, "of moments and momentum; bfloat16 is rounded stochastically");
}

void describe_schedule(schema& root, schedule_settings& schedule) {
  auto& t = root.table("schedule", "The learning rate over the run.");
  t.key("kind", schedule.shape, "its shape");
  t.key("warmup_steps", schedule.warmup_steps, "linear rise to the peak", from_to(0, steps_max));
  t.key("decay_steps", schedule.decay_steps, "step at which the minimum is reached; 0: the last",
        from_to(0, steps_max));
  t.key("stable_steps", schedule.stable_steps, "warmup_stable_decay: steps at the peak", from_to(0, steps_max));
  t.key("minimum_ratio", schedule.minimum_ratio, "lowest rate, as part of the peak", from_to(0, 1));
}

void describe_consistency(schema& root, consistency_settings& consistency) {
  auto& t = root.table("consistency", "How far lanes may drift apart.");
  t.key("mode", consistency.mode, "sync waits for all lanes, bounded for the slowest, async for nobody");
  t.key("staleness", consistency.staleness, "bounded: steps the fastest lane may be ahead",
        from_to(0, steps_max));
  t.key("delay_compensation", consistency.delay_compensation, "bounded, async: DC-ASGD");
  t.key("compensation_lambda", consistency.compensation_lambda, "its strength", at_least(0));
  t.key("compensation_decay", consistency.compensation_decay, "adaptive: of the mean square", from_to_below(0, 1));
  t.key("staleness_scaled_rate", consistency.staleness_scaled_rate,
        "bounded, async: divide the learning rate by the staleness");
}

void describe_runtime(schema& root, runtime_settings& runtime) {
  auto& t = root.table("runtime", "What stands where. Never changes the result in sync mode.");
  t.key("shards", runtime.shards, "actors that own the parameters, a range each", from_to(1, extent_max));
  t.key("threads", runtime.threads, "mathematics threads of each replica, shard and evaluator", from_to(1, 1024));
  t.key("prefetch", runtime.prefetch, "batches that a loader reads ahead", from_to(1, 1024));
  t.key("device", runtime.device,
        "where mathematics runs: cpu; cuda for all GPUs of each process, cuda:0,2 for some; `troupe devices` lists what is there");
  t.key("cuda_graphs", runtime.cuda_graphs,
        "on GPUs, launch each block of a pass, and each update, as a CUDA graph; has never run on one and is therefore off");
  t.key("replication", runtime.replication,
        "2: each shard has a backup on another node, which takes over without a rollback", from_to(1, 2));
  t.key("rebalance_after", runtime.rebalance_after,
        "how long a step must have been a fifth longer than with lanes spread by what each node does, before lanes move; "
        "0: never");
}

void describe_evaluation(schema& root, evaluation_settings& evaluation) {
  auto& t = root.table("evaluation", "Losses on train and validation samples.");
  t.key("every", evaluation.every, "steps between evaluations; 0: only at the end", from_to(0, steps_max));
  t.key("batches", evaluation.batches, "of each evaluation; 0: no evaluation at all", from_to(0, extent_max));
  t.key("batch", evaluation.batch, "sequences in each; 0: as in training", from_to(0, extent_max));
}

void describe_checkpoint(schema& root, checkpoint_settings& checkpoint) {
  auto& t = root.table("checkpoint", "Cuts: what a run can be resumed from.");
  t.key("every", checkpoint.every,
        "steps between cuts; one that is due before the last is on disk holds training up; 0: by time only",
        from_to(0, steps_max));
  t.key("interval", checkpoint.interval, "longest time between cuts; 0: by steps only");
  t.key("keep_count", checkpoint.keep.keep_count, "newest cuts kept; 0: all");
  t.key("keep_age", checkpoint.keep.keep_age, "younger cuts are kept as well");
  t.key("at_end", checkpoint.at_end, "save one at the end");
  t.key("flush", checkpoint.flush, "wait until the disk has it");
  t.key("retry_for", checkpoint.retry_for, "how long to try again where the disk has no room for the cut at the end");
}

void describe_supervision(schema& root, supervision_settings& supervision) {
  auto& t = root.table("supervision", "How much failure is borne before the job gives up.");
  t.key("intensity", supervision.intensity, "restarts within the window that one supervisor bears");
  t.key("window", supervision.window, "see intensity");
  t.key("backoff_first", supervision.backoff_first, "wait before the first restart within the window; then doubled");
  t.key("backoff_max", supervision.backoff_max, "longest wait");
  t.key("fruitless_max", supervision.fruitless_max,
        "restarts in the whole job that bring no new step, before it gives up");
  t.key("stop_within", supervision.stop_within,
        "told to stop, how long beyond two steps to wait while nothing is done; 0: for ever");
  t.key("stall_after", supervision.stall_after,
        "longest that a step, an evaluation or a cut may take before the job returns to its last cut; 0: for ever");
  t.key("stall_steps", supervision.stall_steps,
        "the same for a step whose actors are all there: as many times as long as steps took of late; 0: stall_after only",
        at_least(0));
  t.key("stall_least", supervision.stall_least, "see stall_steps: never less than this");
}

void describe_cluster(schema& root, cluster_settings& cluster) {
  auto& t = root.table("cluster", "How processes get along: when one that is silent counts as lost (one that dies is noticed at once), and who may join.");
  t.key("heartbeat", cluster.peers.heartbeat, "between signs of life on an idle link; 10ms to 1m");
  t.key("phi", cluster.peers.phi,
        "a silence whose like comes once in 10^phi, by how regularly the peer was heard before, is death: after some 15 "
        "heartbeats at 12",
        from_to(1, 100));
  t.key("silence_max", cluster.peers.silence_max,
        "as long a silence is death, however irregular the peer was: noticed at most one heartbeat later");
  t.key("mixed_arithmetic", cluster.mixed_arithmetic,
        "sync: take nodes whose processors or libraries round differently, and give up that results do not depend on who "
        "computes");
  t.key("gpu_links", cluster.gpu_links,
        "tensors on a GPU go to GPUs of other nodes through the hosts' memory; \"nccl\": straight, where NCCL finds a way, "
        "which has never run on NCCL itself and is therefore off");
}

void describe_chaos(schema& root, chaos_settings& chaos) {
  auto& t = root.table("chaos", "Fault injection: makes actors fail on purpose.");
  t.key("probability", chaos.probability, "of a random kill after each step", from_to(0, 1));
  t.key("seed", chaos.seed, "of random kills");
  t.key("kills_max", chaos.kills_max, "random kills at most");
  t.key("actors", chaos.actors, "whom random kills choose from; empty: every shard, replica and loader");
  t.tables("kill", chaos.kills, "One planned kill.", [](schema& element, chaos_settings::kill& kill) {
    element.key("actor", kill.actor, "such as \"shard/0\", \"replica/1\", \"loader/0\", \"evaluator\"");
    element.key("step", kill.step, "when this step is done", from_to(0, steps_max));
    element.key("how", kill.how, "it ends, an exception leaves its handler, or its handler never returns");
  });
}

}  // namespace

schema describe(run_file& run) {
  schema root("A run of `troupe train`. Every key may be given on the command line too: training.steps=100.");
  root.key("name", run.name, "title; empty: the file's");
  root.key("directory", run.directory, "where the run is kept; empty: runs/NAME");
  describe_model(root, run.kind, run.model);
  describe_data(root, run.data);
  describe_training(root, run.job.training);
  describe_optimizer(root, run.job.optimizer);
  describe_schedule(root, run.job.schedule);
  describe_consistency(root, run.job.consistency);
  describe_runtime(root, run.job.runtime);
  describe_evaluation(root, run.job.evaluation);
  describe_checkpoint(root, run.job.checkpoint);
  describe_supervision(root, run.job.supervision);
  describe_cluster(root, run.job.cluster);
  describe_chaos(root, run.job.chaos);
  return root;
}

std::string print_run_file(const run_file& run, bool with_comments) {
  auto copy = run;
  return describe(copy).print(with_comments);
}

}  // namespace troupe
