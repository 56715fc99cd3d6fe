#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "runtime/tensor/buffer.hpp"
#include "runtime/tensor/dtype.hpp"
#include "runtime/tensor/shape.hpp"

namespace troupe {

/// A handle to a dense, row-major array: a shared buffer, an offset into it, an element type and a shape.
///
/// Copying a tensor copies the handle, never the elements. A tensor that was put
/// into a message is immutable from then on. `mutable_data` is for whoever
/// allocated it and has not shared it yet, or finds itself the sole owner again
/// (`unique`).
class tensor {
 public:
  tensor() = default;
  tensor(buffer_ptr owner, std::size_t offset_bytes, dtype type, troupe::shape extents)
      : owner_(std::move(owner)), offset_bytes_(offset_bytes), type_(type), shape_(extents) {
    assert(!owner_ || offset_bytes_ + size_bytes() <= owner_->size_bytes());
  }

  /// False for a default-constructed handle.
  explicit operator bool() const noexcept { return owner_ != nullptr; }

  dtype type() const noexcept { return type_; }
  const troupe::shape& shape() const noexcept { return shape_; }
  std::int64_t count() const noexcept { return shape_.count(); }
  std::size_t size_bytes() const noexcept {
    return static_cast<std::size_t>(count()) * troupe::size_bytes(type_);
  }

  const std::byte* bytes() const noexcept { return owner_->data() + offset_bytes_; }
  std::byte* mutable_bytes() const noexcept { return owner_->data() + offset_bytes_; }

  /// The elements; REQUIRES: T is the element type. The pointer is a host address on host devices only.
  template <class T>
  const T* data() const noexcept {
    assert(dtype_of<T> == type_);
    return reinterpret_cast<const T*>(bytes());
  }
  template <class T>
  T* mutable_data() const noexcept {
    assert(dtype_of<T> == type_);
    return reinterpret_cast<T*>(mutable_bytes());
  }
  template <class T>
  std::span<const T> elements() const noexcept {
    return {data<T>(), static_cast<std::size_t>(count())};
  }
  template <class T>
  std::span<T> mutable_elements() const noexcept {
    return {mutable_data<T>(), static_cast<std::size_t>(count())};
  }

  /// The same elements under another shape of the same count.
  tensor reshaped(troupe::shape extents) const {
    assert(extents.count() == count());
    return {owner_, offset_bytes_, type_, extents};
  }

  /// `extents.count()` elements from element `first` on, sharing memory.
  tensor slice(std::int64_t first, troupe::shape extents) const {
    assert(first >= 0 && first + extents.count() <= count());
    return {owner_, offset_bytes_ + static_cast<std::size_t>(first) * troupe::size_bytes(type_), type_, extents};
  }

  const buffer_ptr& owner() const noexcept { return owner_; }
  /// Whether this handle is the buffer's only one.
  bool unique() const noexcept { return owner_ && troupe::unique(owner_); }

 private:
  buffer_ptr owner_;
  std::size_t offset_bytes_ = 0;
  dtype type_ = dtype::float32;
  troupe::shape shape_;
};

/// Such as "float32[12, 64, 128]".
std::string describe(const tensor& value);

/// A tensor in host memory; contents unspecified.
tensor make_host_tensor(dtype type, shape extents);

}  // namespace troupe
