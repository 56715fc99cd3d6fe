#include "cli/job_preparation.hpp"

#include <fmt/format.h>

#include "actors/cluster_job.hpp"
#include "actors/job_root.hpp"
#include "cli/run_file.hpp"
#include "cli/saved_model.hpp"
#include "models/data/dataset.hpp"
#include "models/transformer.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

constexpr auto same_files = "help: all nodes must see the same files, such as on a shared file system";

/// With the head's tokenizer, so that no node trains one of its own; token shards bring none.
std::shared_ptr<const dataset> open_as_the_head_did(const run_file& run, const cut_manifest& documents) {
  try {
    return open_dataset(run.data, run.model.context, {}, tokenizer_of(documents));
  } catch (const input_error& fault) {
    throw input_error(fmt::format("{}: the head's data cannot be opened on this node: {}\n{}", run.data.path, fault.what(),
                                  same_files));
  }
}

}  // namespace

job_context_ptr prepare_job_context(const std::vector<job_document>& documents) {
  cut_manifest as_in_a_cut;
  as_in_a_cut.documents = from_documents(documents);
  auto run = run_file_of(as_in_a_cut, "the head's job");
  const auto expected = fingerprint_of(as_in_a_cut);
  const auto data = open_as_the_head_did(run, as_in_a_cut);
  if (data->fingerprint() != expected)
    throw input_error(fmt::format("{}: the data at this path differs from the head's\n{}", run.data.path,
                                  same_files));
  job_inputs inputs;
  inputs.model = std::make_shared<const model>(make_transformer(run.model));
  inputs.data = data;
  inputs.context = run.model.context;
  return make_job_context(inputs, run.job);
}

}  // namespace troupe
