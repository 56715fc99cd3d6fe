#include "actors/job_journal.hpp"

#include <random>
#include <string>

#include <fmt/format.h>

#include "runtime/checkpoint/sealed_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

namespace fs = std::filesystem;

std::string draw_name() {
  std::random_device random;
  std::string name;
  for (int i = 0; i < 4; ++i)
    name += fmt::format("{:08x}", random());
  return name;
}

journal_message read(const fs::path& file) {
  return decode_journal(sealed_file::open(file, file_kind::journal).message, file);
}

}  // namespace

job_journal::job_journal(fs::path file, bool resume, bool flush, const std::function<void(const std::string&)>& warn)
    : file_(std::move(file)), flush_(flush), run_(draw_name()), head_(draw_name()) {
  if (resume && fs::exists(file_))
    try {
      auto left = read(file_);
      run_ = std::move(left.run);
      epoch_ = left.epoch;
      in_memory_ = left.in_memory;
    } catch (const input_error& fault) {
      warn(fmt::format("{}; the run goes on from its newest cut on disk, and what its nodes hold in memory is not used",
                       fault.what()));
    }
  const std::lock_guard lock(mutex_);
  write();
}

std::optional<cut_id> job_journal::in_memory() const {
  const std::lock_guard lock(mutex_);
  return in_memory_;
}

bool job_journal::is_ours() const {
  try {
    return read(file_).head == head_;
  } catch (const std::runtime_error&) {
    return true;  // unreadable is no sign of another
  }
}

std::uint64_t job_journal::begin_epoch(std::uint64_t step) {
  const std::lock_guard lock(mutex_);
  ++epoch_;
  if (in_memory_ && in_memory_->step > step)
    in_memory_.reset();
  if (is_ours())
    write();
  return epoch_;
}

void job_journal::note_cut(const cut_id& taken) {
  const std::lock_guard lock(mutex_);
  in_memory_ = taken;
  if (is_ours())
    write();
}

void job_journal::write() {
  const auto bytes = encode(journal_message{run_, head_, epoch_, in_memory_});
  const auto draft = file_.parent_path() / (".writing-journal-" + head_);  // no other process writes to it
  file_writer out(draft, sealed_size(0, bytes.size()), {});
  seal(out, file_kind::journal, bytes, flush_);
  rename_path(draft, file_, {});
  if (flush_)
    sync_directory(file_.parent_path(), {});
}

}  // namespace troupe
