/// Trains a small GPT from C++, without a run file: a corpus, a model, settings, run_job. A replica and a shard are
/// killed on the way; there are no checkpoints here, so that losing the shard costs all steps until then:
///
///   $ example_train_from_cpp [TEXT FILE OR FOLDER]
///   step  20  loss 3.766
///   ...
///   a shard was lost: back to step 0
///   step  20  loss 3.766
///   ...
///   step 200  validation loss 2.624
///   200 steps, 2 actors killed, 2 restarted; fingerprint 07efb5b037d90b4d3db9f30832280eb1

#include <cstdio>
#include <memory>

#include <fmt/format.h>

#include "actors/job.hpp"
#include "models/transformer.hpp"
#include "runtime/error.hpp"

int main(int argc, char** argv) try {
  using namespace troupe;

  data_settings corpus;
  corpus.path = argc > 1 ? argv[1] : "/usr/include/c++";
  corpus.tokens.algorithm = tokenizer_settings::kind::bytes;
  corpus.file_bytes_max = 64 << 10;

  auto shape = transformer_settings::gpt2();
  shape.layers = 2;
  shape.heads = 4;
  shape.channels = 64;
  shape.context = 64;

  job_inputs inputs;
  inputs.context = shape.context;
  inputs.data = open_dataset(corpus, shape.context);
  shape.vocabulary = inputs.data->vocabulary();
  inputs.model = std::make_shared<const model>(make_transformer(shape));

  job_settings settings;
  settings.training.steps = 200;
  settings.training.batch = 16;
  settings.training.lanes = 2;   // two data-parallel workers
  settings.runtime.shards = 2;   // the parameters live in two places
  settings.optimizer.learning_rate = 3e-3;
  settings.schedule.warmup_steps = 20;
  settings.evaluation.every = 100;
  settings.chaos.kills = {{"replica/1", 60}, {"shard/0", 120}};  // and nobody notices

  job_observer observer;
  observer.on_step = [](const step_report& report) {
    if (report.step % 20 == 0)
      fmt::print("step {:>3}  loss {:.3f}\n", report.step, report.loss);
  };
  observer.on_rollback = [](std::uint64_t step) { fmt::print("a shard was lost: back to step {}\n", step); };
  observer.on_evaluation = [](const evaluation_report& report) {
    fmt::print("step {:>3}  validation loss {:.3f}\n", report.step, report.validation_loss);
  };

  const auto summary = run_job(inputs, settings, observer);
  fmt::print("{} steps, {} actors killed, {} restarted; fingerprint {}\n", summary.steps, summary.killed,
             summary.restarts, summary.fingerprint);
  return summary.best_evaluation->validation_loss < 4.0 ? 0 : 1;  // log(257) = 5.5 is what guessing gives
} catch (const troupe::input_error& error) {
  fmt::print(stderr, "error: {}\n", error.what());
  return 2;
}
