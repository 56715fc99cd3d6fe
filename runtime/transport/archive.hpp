#pragma once

/// Writes a message's fields into a parcel and reads them back: numbers little-endian as they lie in memory, texts and
/// lists with a 32-bit count before them, tensors by taking the next one beside the body, handles of actors as
/// addresses. What is read comes from outside: every count is held against what is there before memory is taken.

#include <bit>
#include <cstring>
#include <filesystem>
#include <functional>
#include <optional>
#include <type_traits>
#include <vector>

#include <caf/all.hpp>

#include "runtime/error.hpp"
#include "runtime/tensor/numbers.hpp"
#include "runtime/transport/aggregate.hpp"
#include "runtime/transport/parcel.hpp"

namespace troupe {

static_assert(std::endian::native == std::endian::little, "bodies of parcels are little-endian");

/// The address under which other nodes reach an actor; from an address, a handle that reaches it.
using address_finder = std::function<actor_address(const caf::actor&)>;
using handle_finder = std::function<caf::actor(const actor_address&)>;

class message_writer {
 public:
  message_writer(parcel& out, const address_finder& address_of) : out_(out), address_of_(address_of) {}

  template <class T>
  void write(const T& x) {
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>)
      append(&x, sizeof x);
    else
      with_fields(x, [this](const auto&... fields) { (write(fields), ...); });
  }
  void write(const std::string& x) {
    write(static_cast<std::uint32_t>(x.size()));
    append(x.data(), x.size());
  }
  void write(const std::filesystem::path& x) { write(x.string()); }
  void write(const actor_address& x) {
    write(x.node);
    write(x.name);
    write(x.incarnation);
  }
  void write(const caf::actor& x) { write(x ? address_of_(x) : actor_address{}); }
  /// Absent tensors are legal fields; only present ones travel.
  void write(const tensor& x) {
    write(static_cast<bool>(x));
    if (x)
      out_.tensors.push_back(x);
  }
  void write(const numbers& x) { write(x.to_vector()); }
  template <class T>
  void write(const std::optional<T>& x) {
    write(x.has_value());
    if (x)
      write(*x);
  }
  template <class T>
  void write(const std::vector<T>& x) {
    write(static_cast<std::uint32_t>(x.size()));
    for (const auto& each : x)
      write(static_cast<const T&>(each));
  }

 private:
  void append(const void* data, std::size_t size) {
    const auto* bytes = static_cast<const std::byte*>(data);
    out_.body.insert(out_.body.end(), bytes, bytes + size);
  }

  parcel& out_;
  const address_finder& address_of_;
};

/// Throws input_error where the parcel does not hold what is read.
class message_reader {
 public:
  message_reader(const parcel& in, const handle_finder& handle_of) : in_(in), handle_of_(handle_of) {}

  template <class T>
  void read(T& x) {
    if constexpr (std::is_same_v<T, bool>) {
      std::uint8_t value = 0;
      read(value);
      x = value != 0;
    } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      std::memcpy(&x, take(sizeof x), sizeof x);
    } else {
      with_fields(x, [this](auto&... fields) { (read(fields), ...); });
    }
  }
  void read(std::string& x) {
    const auto size = read_count();
    const auto* text = reinterpret_cast<const char*>(take(size));
    x.assign(text, size);
  }
  void read(std::filesystem::path& x) {
    std::string text;
    read(text);
    x = text;
  }
  void read(actor_address& x) {
    read(x.node);
    read(x.name);
    read(x.incarnation);
  }
  void read(caf::actor& x) {
    actor_address address;
    read(address);
    x = address ? handle_of_(address) : caf::actor{};
  }
  void read(tensor& x) {
    bool present = false;
    read(present);
    if (!present) {
      x = {};
      return;
    }
    if (next_tensor_ == in_.tensors.size())
      throw input_error("parcel '" + in_.type + "': fewer tensors than its fields name");
    x = in_.tensors[next_tensor_++];
  }
  void read(numbers& x) {
    std::vector<double> values;
    read(values);
    x = numbers(values);
  }
  template <class T>
  void read(std::optional<T>& x) {
    bool present = false;
    read(present);
    x.reset();
    if (present)
      read(x.emplace());
  }
  template <class T>
  void read(std::vector<T>& x) {
    const auto count = read_count();
    x.clear();
    // No reservation: a count from outside must not take memory that the elements after it do not justify.
    for (std::size_t i = 0; i < count; ++i) {
      T value{};
      read(value);
      x.push_back(std::move(value));
    }
  }

  void expect_end() const {
    if (position_ != in_.body.size() || next_tensor_ != in_.tensors.size())
      throw input_error("parcel '" + in_.type + "': longer than its fields");
  }

 private:
  std::size_t read_count() {
    std::uint32_t count = 0;
    read(count);
    // Each element takes a byte at least.
    if (count > in_.body.size() - position_)
      throw input_error("parcel '" + in_.type + "': a count larger than what follows");
    return count;
  }

  const std::byte* take(std::size_t size) {
    if (size > in_.body.size() - position_)
      throw input_error("parcel '" + in_.type + "': shorter than its fields");
    const auto* here = in_.body.data() + position_;
    position_ += size;
    return here;
  }

  const parcel& in_;
  const handle_finder& handle_of_;
  std::size_t position_ = 0;
  std::size_t next_tensor_ = 0;
};

}  // namespace troupe
