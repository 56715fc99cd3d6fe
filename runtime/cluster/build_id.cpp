#include "runtime/cluster/build_id.hpp"

#include <elf.h>
#include <link.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string_view>

#include <fmt/format.h>

#include "runtime/checkpoint/checksum.hpp"

namespace troupe {

namespace {

/// Where the mathematics and the messages of a job are. Others, such as those of devices, are not on every node.
constexpr std::array<std::string_view, 3> libraries{"libtroupe_runtime.", "libtroupe_models.", "libtroupe_actors."};

using notes_by_name = std::map<std::string, std::string>;

std::string_view file_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

/// The linker's note among those of a segment; empty where there is none.
std::string_view find_note(std::string_view segment) {
  constexpr auto padded = [](std::size_t bytes) { return (bytes + 3) & ~std::size_t{3}; };
  while (segment.size() >= sizeof(ElfW(Nhdr))) {
    ElfW(Nhdr) header;
    std::memcpy(&header, segment.data(), sizeof header);
    const auto content = sizeof header + padded(header.n_namesz);
    if (header.n_type == NT_GNU_BUILD_ID && segment.substr(sizeof header, 4) == std::string_view("GNU", 4))
      return segment.substr(content, header.n_descsz);
    segment.remove_prefix(std::min(segment.size(), content + padded(header.n_descsz)));
  }
  return {};
}

int collect(dl_phdr_info* object, std::size_t, void* into) {
  const auto name = file_name(object->dlpi_name);
  if (std::none_of(libraries.begin(), libraries.end(), [&](auto library) { return name.starts_with(library); }))
    return 0;
  for (const auto& part : std::span(object->dlpi_phdr, object->dlpi_phnum)) {
    if (part.p_type != PT_NOTE)
      continue;
    const auto* begin = reinterpret_cast<const char*>(object->dlpi_addr + part.p_vaddr);
    if (const auto note = find_note({begin, part.p_memsz}); !note.empty())
      static_cast<notes_by_name*>(into)->insert_or_assign(std::string(name), std::string(note));
  }
  return 0;
}

}  // namespace

std::string build_id() {
  notes_by_name notes;
  dl_iterate_phdr(collect, &notes);
  running_checksum sum;
  for (const auto& [name, note] : notes)
    sum.add(std::as_bytes(std::span(note)));
  return fmt::format("troupe {} {:.12}", TROUPE_VERSION, to_string(sum.value()));
}

}  // namespace troupe
