#include "gpu/memory.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "gpu/error.hpp"
#include "runtime/tensor/memory_pool.hpp"

namespace troupe::gpu {

void block::use(const timeline_ptr& who, bool writes) {
  std::vector<operation> before;
  {
    const std::lock_guard lock(mutex_);
    const auto comes_after = [&](const operation& which) {
      if (which.of && which.of != who && who->has_to_wait_for(*which.of, which.number))
        before.push_back(which);
    };
    comes_after(last_write_);
    if (writes) {
      std::ranges::for_each(reads_, comes_after);
      reads_.clear();
      last_write_ = {who, who->next()};
    } else if (const auto own = std::ranges::find(reads_, who, &operation::of); own != reads_.end()) {
      own->number = who->next();
    } else {
      reads_.push_back({who, who->next()});
    }
  }
  // Without the lock: whoever is waited for may have to use the block again before it hands its work over.
  for (const operation& each : before)
    who->wait_for(*each.of, each.number);
}

bool block::is_handed_over() noexcept {
  const std::lock_guard lock(mutex_);
  const auto is_given = [](const operation& which) { return !which.of || which.of->has_handed_over(which.number); };
  return is_given(last_write_) && std::ranges::all_of(reads_, is_given);
}

void block::wait_for_users() noexcept {
  const std::lock_guard lock(mutex_);
  if (last_write_.of)
    last_write_.of->synchronize();
  for (const auto& read : reads_)
    read.of->synchronize();
}

class device_buffer final : public buffer {
 public:
  device_buffer(device_memory& from, std::unique_ptr<block> memory, std::size_t size_bytes)
      : buffer(memory->address(), size_bytes), from_(from), memory_(std::move(memory)) {}
  ~device_buffer() override { from_.give_back(std::move(memory_)); }

  block* memory() const noexcept { return memory_.get(); }
  device* on() const noexcept override { return &from_.of_; }

 private:
  device_memory& from_;
  std::unique_ptr<block> memory_;
};

block* device_memory::block_of(const buffer& memory) noexcept {
  const auto* const ours = dynamic_cast<const device_buffer*>(&memory);
  return ours ? ours->memory() : nullptr;
}

buffer_ptr device_memory::allocate(dtype type, const shape& extents, const timeline_ptr& who) {
  const auto size_bytes = static_cast<std::size_t>(extents.count()) * troupe::size_bytes(type);
  const auto rounded_bytes = memory_pool::rounded_size(size_bytes);
  auto memory = take(rounded_bytes, who);
  if (!memory && who && who->end_section())
    memory = take(rounded_bytes, who);  // what the section had kept back can be given back now
  if (!memory) {
    std::size_t free_bytes = 0, all_bytes = 0;
    cudaMemGetInfo(&free_bytes, &all_bytes);
    constexpr double mib = 1 << 20;
    check(cudaErrorMemoryAllocation, device_,
          fmt::format("allocating {}{} ({:.1f} MiB) beside {:.1f} MiB in use, with {:.1f} of {:.1f} MiB free",
                      to_string(type), to_string(extents), static_cast<double>(rounded_bytes) / mib,
                      static_cast<double>(usage().in_use_bytes) / mib, static_cast<double>(free_bytes) / mib,
                      static_cast<double>(all_bytes) / mib));
  }
  memory->home = who;
  return std::make_shared<device_buffer>(*this, std::move(memory), size_bytes);
}

std::unique_ptr<block> device_memory::take(std::size_t rounded_bytes, const timeline_ptr& who) {
  const std::lock_guard lock(mutex_);
  auto& cached = cached_[rounded_bytes];
  // The newest first: what it holds may still be in the device's caches.
  auto chosen = std::find_if(cached.rbegin(), cached.rend(), [&](const std::unique_ptr<block>& each) {
    return !each->home || each->home == who || each->home->is_finished();
  });
  std::unique_ptr<block> taken;
  if (chosen == cached.rend()) {
    taken = take_new(rounded_bytes);
    chosen = cached.rbegin();  // somebody else's, if it must be
  }
  if (!taken && chosen != cached.rend()) {
    taken = std::move(*chosen);
    cached.erase(std::next(chosen).base());
  }
  if (!taken) {
    free_cached();
    taken = take_new(rounded_bytes);
  }
  if (!taken)
    return nullptr;
  usage_.in_use_bytes += rounded_bytes;
  usage_.peak_bytes = std::max(usage_.peak_bytes, usage_.in_use_bytes);
  return taken;
}

std::unique_ptr<block> device_memory::take_new(std::size_t rounded_bytes) {
  void* address = nullptr;
  const auto status = cudaMalloc(&address, rounded_bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // or the next launch would report it
    return nullptr;
  }
  check(status, device_, "allocating memory");
  usage_.reserved_bytes += rounded_bytes;
  return std::make_unique<block>(static_cast<std::byte*>(address), rounded_bytes);
}

void device_memory::give_back(std::unique_ptr<block> returned) noexcept {
  const std::lock_guard lock(mutex_);
  usage_.in_use_bytes -= returned->size_bytes();
  cached_[returned->size_bytes()].push_back(std::move(returned));
}

void device_memory::free_cached() noexcept {
  const auto kept = [](const std::unique_ptr<block>& each) { return !each->is_handed_over(); };
  for (auto& [size_bytes, blocks] : cached_) {
    const auto freed = std::partition(blocks.begin(), blocks.end(), kept);
    for (auto each = freed; each != blocks.end(); ++each) {
      (*each)->wait_for_users();  // not for the device, which cannot be waited for while a section is recorded
      cudaFree((*each)->address());
    }
    usage_.reserved_bytes -= size_bytes * static_cast<std::size_t>(blocks.end() - freed);
    blocks.erase(freed, blocks.end());
  }
}

memory_usage device_memory::usage() const {
  const std::lock_guard lock(mutex_);
  return usage_;
}

void device_memory::trim() {
  const std::lock_guard lock(mutex_);
  free_cached();
}

class pinned_buffer final : public buffer {
 public:
  pinned_buffer(pinned_memory& from, std::byte* address, std::size_t size_bytes)
      : buffer(address, size_bytes), from_(from) {}
  ~pinned_buffer() override {
    const std::lock_guard lock(from_.mutex_);
    from_.cached_.emplace(memory_pool::rounded_size(size_bytes_), data_);
  }

 private:
  pinned_memory& from_;
};

buffer_ptr pinned_memory::allocate(std::size_t size_bytes) {
  const auto rounded = memory_pool::rounded_size(size_bytes);
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = cached_.find(rounded); found != cached_.end()) {
      auto* const address = found->second;
      cached_.erase(found);
      return std::make_shared<pinned_buffer>(*this, address, size_bytes);
    }
  }
  void* address = nullptr;
  check(cudaHostAlloc(&address, rounded, cudaHostAllocPortable), device_,
        fmt::format("page-locking {} bytes of host memory", rounded));
  return std::make_shared<pinned_buffer>(*this, static_cast<std::byte*>(address), size_bytes);
}

void pinned_memory::trim() {
  const std::lock_guard lock(mutex_);
  for (const auto& [size_bytes, address] : cached_)
    cudaFreeHost(address);
  cached_.clear();
}

}  // namespace troupe::gpu
