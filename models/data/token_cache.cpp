#include "models/data/token_cache.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "runtime/checkpoint/mapped_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

constexpr std::array<char, 8> magic{'t', 'r', 'p', 't', 'o', 'k', 'e', 'n'};
constexpr std::uint32_t version = 1;
constexpr std::size_t alignment = 64;

struct header {
  std::array<char, 8> magic;
  std::uint32_t version;
  std::uint32_t token_bytes;
  std::uint64_t token_count;
  std::uint64_t vocabulary;
  std::uint64_t tokenizer_bytes;
  std::array<char, 32> tokenizer_kind;  // padded with zeros
  digest key;
  digest body;          // checksum of all that follows the header
  std::uint64_t unused;
  digest self;          // checksum of the fields above
};
static_assert(sizeof(header) == 128);

std::string_view bytes_of(const header& h) {
  return {reinterpret_cast<const char*>(&h), offsetof(header, self)};
}

std::size_t padding_after(std::size_t size_bytes) {
  return (alignment - size_bytes % alignment) % alignment;
}

}  // namespace

tokenized_corpus read_token_cache(const std::filesystem::path& path, const digest& key) {
  const auto file = mapped_file::open(path);
  const auto refuse = [&](const char* why) { throw input_error(fmt::format("{}: {}", path.string(), why)); };
  std::string_view rest = file->text();
  header h;
  if (rest.size() < sizeof h)
    refuse("too short for a cache of tokens");
  std::memcpy(&h, rest.data(), sizeof h);
  rest.remove_prefix(sizeof h);
  if (h.magic != magic)
    refuse("no cache of tokens");
  if (h.version != version)
    refuse("a cache of tokens of another version");
  if (content_hash().add(bytes_of(h)).value() != h.self)
    refuse("the header's checksum is wrong");
  if (h.key != key)
    refuse("the cache of another corpus");
  const std::size_t width = h.token_bytes;
  if ((width != 2 && width != 4) || h.tokenizer_bytes > rest.size() || h.token_count > rest.size() / width ||
      h.tokenizer_bytes + padding_after(h.tokenizer_bytes) + h.token_count * width != rest.size())
    refuse("the size is not what the header says");
  if (content_hash().add_raw(rest.data(), rest.size()).value() != h.body)
    refuse("the checksum is wrong");

  tokenized_corpus corpus;
  const std::string kind(h.tokenizer_kind.data(), strnlen(h.tokenizer_kind.data(), h.tokenizer_kind.size()));
  corpus.tokens = deserialize_tokenizer(kind, rest.substr(0, h.tokenizer_bytes));
  rest.remove_prefix(h.tokenizer_bytes + padding_after(h.tokenizer_bytes));
  corpus.stream = token_stream({token_segment{file, reinterpret_cast<const std::byte*>(rest.data()), width,
                                              static_cast<std::int64_t>(h.token_count)}});
  if (corpus.tokens->size() != static_cast<std::int64_t>(h.vocabulary) ||
      corpus.stream.largest() >= corpus.tokens->size())
    refuse("the tokens are not the tokenizer's");
  return corpus;
}

token_cache_writer::token_cache_writer(std::filesystem::path path, const digest& key, const tokenizer& tokens)
    : path_(std::move(path)),
      file_(nullptr, &std::fclose),
      key_(key),
      kind_(tokens.kind()),
      token_bytes_(tokens.size() <= 1 << 16 ? 2 : 4),
      vocabulary_(tokens.size()) {
  std::error_code failure;
  std::filesystem::create_directories(path_.parent_path(), failure);
  if (failure) {
    errno = failure.value();
    fail("make its folder");
  }
  // Without a name, a file goes with its writer, killed or not. Some file systems, such as NFS, know no such files.
  int descriptor = open(path_.parent_path().c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
  if (descriptor < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
    std::string aside = path_.string() + ".XXXXXX";
    descriptor = mkostemp(aside.data(), O_CLOEXEC);
    if (descriptor >= 0)
      aside_ = aside;
  }
  if (descriptor < 0)
    fail("make a file beside it");
  file_.reset(fdopen(descriptor, "wb"));
  const header blank{};
  if (std::fwrite(&blank, sizeof blank, 1, file_.get()) != 1)
    fail("write");
  const std::string serialized = tokens.serialize();
  tokenizer_bytes_ = serialized.size();
  write(serialized.data(), serialized.size());
  const std::array<char, alignment> zeros{};
  write(zeros.data(), padding_after(serialized.size()));
}

token_cache_writer::~token_cache_writer() {
  if (!aside_.empty())
    unlink(aside_.c_str());
}

void token_cache_writer::append(std::span<const std::int32_t> tokens) {
  count_ += static_cast<std::int64_t>(tokens.size());
  if (token_bytes_ == 4)
    return write(tokens.data(), tokens.size_bytes());
  const std::vector<std::uint16_t> narrow(tokens.begin(), tokens.end());
  write(narrow.data(), narrow.size() * sizeof narrow[0]);
}

void token_cache_writer::publish() {
  header h{magic, version, static_cast<std::uint32_t>(token_bytes_), static_cast<std::uint64_t>(count_),
           static_cast<std::uint64_t>(vocabulary_), tokenizer_bytes_, {}, key_, checksum_.value(), 0, {}};
  kind_.copy(h.tokenizer_kind.data(), h.tokenizer_kind.size());
  h.self = content_hash().add(bytes_of(h)).value();
  std::rewind(file_.get());
  if (std::fwrite(&h, sizeof h, 1, file_.get()) != 1 || fchmod(fileno(file_.get()), 0644) != 0 ||
      std::fflush(file_.get()) != 0)
    fail("write");
  if (aside_.empty())
    give_name();
  if (std::fclose(file_.release()) != 0)
    fail("write");
  if (std::rename(aside_.c_str(), path_.c_str()) != 0)
    fail("rename a file to this");
  aside_.clear();
}

/// One that only this process uses: a file cannot be linked over another, only renamed.
void token_cache_writer::give_name() {
  const auto aside = fmt::format("{}.{}", path_.string(), getpid());
  const auto self = fmt::format("/proc/self/fd/{}", fileno(file_.get()));
  unlink(aside.c_str());
  if (linkat(AT_FDCWD, self.c_str(), AT_FDCWD, aside.c_str(), AT_SYMLINK_FOLLOW) != 0)
    fail("name a file beside it");
  aside_ = aside;
}

void token_cache_writer::write(const void* data, std::size_t size_bytes) {
  checksum_.add_raw(data, size_bytes);
  if (size_bytes > 0 && std::fwrite(data, 1, size_bytes, file_.get()) != size_bytes)
    fail("write");
}

void token_cache_writer::fail(const char* what) const {
  throw system_error(fmt::format("{}: cannot {}: {}; data.cache names the folder to use", path_.string(), what,
                                 std::strerror(errno)));
}

}  // namespace troupe
