/// A stand-in for cuDNN on the emulated GPU: its graph API, as far as attention uses it. It takes any graph of the
/// operations below and does one after the other when the stream comes to it, each as its reference says: so a wrong graph
/// is a wrong number. What the reference forbids, and what was left out, it refuses.
///
/// EMULATED_CUDNN makes it another library: `old` is of a version that is too old, `refuses` has no kernel for anything,
/// `refuses-backward` none for graphs with more than one result in bfloat16, `greedy` wants a gigabyte of workspace, and
/// `breaks` fails when it is to enqueue.

#include <cuda_runtime.h>
#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/tensor/dtype.hpp"

namespace {

using troupe::bfloat16;

enum status : int { success = 0, bad_parameter = 2000, not_finalized = 2004, not_supported = 3000, execution_failed = 5000 };
enum kind : int {
  pointwise = 0, configuration = 3, heuristic = 4, plan = 5, pointwise_operation = 13, graph = 15, variant_pack = 16,
  tensor = 17, matmul = 18, matmul_operation = 19, reduction = 21, reduction_operation = 22, reshape_operation = 31,
};
enum attribute : int {
  mode = 0, precision = 1, axis = 9, heuristic_mode = 200, heuristic_graph = 201, heuristic_results = 202,
  plan_configuration = 401, plan_workspace = 402, pw_description = 750, pw_x = 751, pw_b = 752, pw_y = 753, pw_t = 758,
  graph_handle = 800, graph_operations = 801, alignment = 900, element = 901, extents = 902, strides = 903, unique_id = 906,
  is_virtual = 907, is_by_value = 908, pack_ids = 1000, pack_addresses = 1001, pack_workspace = 1003,
  matmul_precision = 1500, matmul_a = 1520, matmul_b = 1521, matmul_c = 1522, matmul_description = 1523,
  reduction_operator = 1600, reduction_precision = 1601, reduction_x = 1610, reduction_y = 1611,
  reduction_description = 1612, reshape_x = 2200, reshape_y = 2201,
};
enum type : int {
  a_handle = 0, an_element = 1, a_boolean = 2, an_int64 = 3, an_address = 6, a_heuristic = 8, a_pointwise = 14,
  a_descriptor = 15, a_reduction = 18,
};
enum element_type : int { float32 = 0, int32 = 4, bf16 = 9, boolean = 11 };

thread_local std::string last_error;

struct refusal : std::runtime_error {
  refusal(int code, const std::string& why) : std::runtime_error(why), code(code) {}
  int code;
};

[[noreturn]] void refuse(int code, const std::string& why) { throw refusal(code, why); }
void demand(bool holds, const std::string& what) {
  if (!holds)
    refuse(bad_parameter, what);
}

template <class Body>
int answer(Body body) {
  try {
    body();
    return success;
  } catch (const refusal& fault) {
    last_error = fault.what();
    return fault.code;
  }
}

bool is_told(const std::string& word) {
  const char* const told = std::getenv("EMULATED_CUDNN");
  return told && told == word;
}

// -- the emulated GPU ----------------------------------------------------------------

/// Has `run` called when the stream comes to it; `size` bytes at `address` must be the device's.
void enqueue(cudaStream_t stream, std::size_t size, void* address, const std::function<void()>& run) {
  using function = void(cudaStream_t, std::size_t, void*, const std::function<void()>&, const std::function<bool()>&);
  static auto* const call = reinterpret_cast<function*>(
      dlsym(dlopen(std::getenv("TROUPE_CUDA_LIBRARY"), RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD), "emulated_gpu_enqueue"));
  call(stream, size, address, run, {});
}

// -- descriptors ---------------------------------------------------------------------

struct rule {
  int name;
  int each;
  std::int64_t count_min, count_max;
  bool needed;
};

const std::map<int, std::vector<rule>> rules{
    {tensor,
     {{element, an_element, 1, 1, true}, {extents, an_int64, 1, 8, true}, {strides, an_int64, 1, 8, true},
      {unique_id, an_int64, 1, 1, true}, {alignment, an_int64, 1, 1, true}, {is_virtual, a_boolean, 1, 1, false},
      {is_by_value, a_boolean, 1, 1, false}}},
    {pointwise, {{mode, a_pointwise, 1, 1, true}, {precision, an_element, 1, 1, true}, {axis, an_int64, 1, 1, false}}},
    {pointwise_operation,
     {{pw_description, a_descriptor, 1, 1, true}, {pw_x, a_descriptor, 1, 1, true}, {pw_b, a_descriptor, 1, 1, false},
      {pw_t, a_descriptor, 1, 1, false}, {pw_y, a_descriptor, 1, 1, true}}},
    {matmul, {{matmul_precision, an_element, 1, 1, true}}},
    {matmul_operation,
     {{matmul_a, a_descriptor, 1, 1, true}, {matmul_b, a_descriptor, 1, 1, true}, {matmul_c, a_descriptor, 1, 1, true},
      {matmul_description, a_descriptor, 1, 1, true}}},
    {reduction, {{reduction_operator, a_reduction, 1, 1, true}, {reduction_precision, an_element, 1, 1, true}}},
    {reduction_operation,
     {{reduction_x, a_descriptor, 1, 1, true}, {reduction_y, a_descriptor, 1, 1, true},
      {reduction_description, a_descriptor, 1, 1, true}}},
    {reshape_operation, {{reshape_x, a_descriptor, 1, 1, true}, {reshape_y, a_descriptor, 1, 1, true}}},
    {graph, {{graph_handle, a_handle, 1, 1, true}, {graph_operations, a_descriptor, 1, 100, true}}},
    {heuristic, {{heuristic_graph, a_descriptor, 1, 1, true}, {heuristic_mode, a_heuristic, 1, 1, true}}},
    {configuration, {}},
    {plan, {{plan_configuration, a_descriptor, 1, 1, true}}},
    {variant_pack,
     {{pack_ids, an_int64, 1, 100, true}, {pack_addresses, an_address, 1, 100, true},
      {pack_workspace, an_address, 1, 1, true}}},
};

/// Its attributes are copied, as cuDNN does; descriptors stay what they were when they were connected.
struct descriptor {
  explicit descriptor(int what) : what(what) {}

  int what;
  bool finished = false;
  std::map<int, std::vector<std::int64_t>> attributes;
  std::map<int, std::vector<std::shared_ptr<descriptor>>> connected;

  const std::vector<std::int64_t>& all(int name) const { return attributes.at(name); }
  std::int64_t one(int name) const { return attributes.at(name)[0]; }
  bool has(int name) const { return attributes.contains(name) || connected.contains(name); }
  bool is(int name) const { return attributes.contains(name) && one(name) != 0; }
  const descriptor& to(int name) const { return *connected.at(name)[0]; }
};
using handle_to = std::shared_ptr<descriptor>*;

struct context {
  cudaStream_t stream = nullptr;
};

std::int64_t size_of_each(int each) {
  switch (each) {
    case a_boolean: return 1;
    case an_int64: case an_address: case a_handle: return 8;
    default: return 4;
  }
}

void set(descriptor& of, int name, int each, std::int64_t count, const void* values) {
  demand(!of.finished, "an attribute of a finished descriptor");
  const auto& known = rules.at(of.what);
  const auto found = std::ranges::find(known, name, &rule::name);
  demand(found != known.end(), "descriptors of kind " + std::to_string(of.what) + " have no attribute " + std::to_string(name));
  demand(found->each == each && count >= found->count_min && count <= found->count_max && values,
         "attribute " + std::to_string(name) + " of another type, or too few or many of them");
  if (each == a_descriptor) {
    auto& list = of.connected[name];
    list.clear();
    for (std::int64_t i = 0; i < count; ++i) {
      const auto& other = **(static_cast<const handle_to*>(values) + i);
      if (!other->finished && other->what != configuration)
        refuse(not_finalized, "a descriptor that is not finished");
      list.push_back(other);
    }
    return;
  }
  auto& list = of.attributes[name];
  list.assign(static_cast<std::size_t>(count), 0);
  for (std::int64_t i = 0; i < count; ++i)
    std::memcpy(&list[static_cast<std::size_t>(i)], static_cast<const char*>(values) + i * size_of_each(each),
                static_cast<std::size_t>(size_of_each(each)));
}

// -- what finishing one checks ----------------------------------------------------------

std::int64_t span_of(const descriptor& t) {
  std::int64_t last = 0;
  for (std::size_t i = 0; i < t.all(extents).size(); ++i)
    last += (t.all(extents)[i] - 1) * t.all(strides)[i];
  return last + 1;
}

std::size_t bytes_of(const descriptor& t) {
  return static_cast<std::size_t>(span_of(t)) * (t.one(element) == bf16 ? sizeof(bfloat16) : sizeof(float));
}

void check_tensor(const descriptor& t) {
  demand(t.all(extents).size() == t.all(strides).size(), "a tensor with more extents than strides");
  demand(std::ranges::all_of(t.all(extents), [](auto each) { return each > 0; }), "an extent that is not positive");
  demand(!t.is(is_virtual) || !t.is(is_by_value), "a tensor that is both virtual and by value");
  demand(t.one(alignment) >= 4 && t.one(alignment) % 4 == 0, "an alignment");
  const auto type = t.one(element);
  demand(type == float32 || type == bf16 || (t.is(is_virtual) && (type == int32 || type == boolean)), "elements of a type");
}

/// What an operation reads, and at the end what it writes.
std::vector<const descriptor*> tensors_of(const descriptor& operation) {
  std::vector<const descriptor*> all;
  for (const int name : {pw_x, pw_b, pw_t, matmul_a, matmul_b, reduction_x, reshape_x, pw_y, matmul_c, reduction_y, reshape_y})
    if (operation.connected.contains(name))
      all.push_back(&operation.to(name));
  return all;
}

void check_operation(const descriptor& o) {
  for (const auto* each : tensors_of(o))
    demand(each->what == tensor && each->all(extents).size() == 4, "an operand that is no tensor of four axes");
  const auto& y = *tensors_of(o).back();
  const auto& to = y.all(extents);
  demand(!y.is(is_by_value), "a result by value");
  if (o.what == pointwise_operation) {
    const auto& how = o.to(pw_description);
    const auto which = how.one(mode);
    const bool compares = which == 303, indexes = which == 501, selects = which == 601, is_unary = which == 13 || which == 15;
    demand(o.has(pw_b) == (!is_unary && !indexes) && o.has(pw_t) == selects && how.has(axis) == indexes,
           "operands, or an axis, that the mode " + std::to_string(which) + " does not take");
    demand((y.one(element) == boolean) == compares && (y.one(element) == int32) == indexes, "a result's type");
    demand(how.one(precision) == (compares ? boolean : float32), "a precision");
    demand(!selects || o.to(pw_t).one(element) == boolean, "a condition that is no boolean");
    for (const auto* each : tensors_of(o))
      for (std::size_t i = 0; i < 4; ++i)
        demand(each->all(extents)[i] == to[i] || each->all(extents)[i] == 1, "extents that do not go together");
  }
  if (o.what == matmul_operation) {
    const auto &a = o.to(matmul_a).all(extents), &b = o.to(matmul_b).all(extents);
    demand(a[3] == b[2] && to[2] == a[2] && to[3] == b[3], "matrices that do not go together");
    demand(to[0] == a[0] && to[1] == a[1] && b[0] == a[0] && a[1] % b[1] == 0, "batches that do not go together");
    demand(o.to(matmul_description).one(matmul_precision) == float32, "a precision");
  }
  if (o.what == reduction_operation)
    for (std::size_t i = 0; i < 4; ++i)
      demand(o.to(reduction_x).all(extents)[i] % to[i] == 0, "a reduction to other extents");
  if (o.what == reshape_operation) {
    const auto& x = o.to(reshape_x);
    demand(span_of(x) == span_of(y), "a reshape to another span");
  }
}

void check_graph(const descriptor& g) {
  std::map<std::int64_t, const descriptor*> by_id;
  std::set<const descriptor*> written;
  for (const auto& operation : g.connected.at(graph_operations)) {
    const auto all = tensors_of(*operation);
    demand(!all.empty(), "a graph of what is no operation");
    for (const auto* each : all) {
      demand(by_id.try_emplace(each->one(unique_id), each).first->second == each, "two tensors of one id");
      demand(!each->is(is_virtual) || each == all.back() || written.contains(each), "a virtual tensor that nobody wrote");
    }
    demand(written.insert(all.back()).second, "a tensor that is written twice");
  }
}

void finish(descriptor& which) {
  for (const auto& each : rules.at(which.what))
    demand(!each.needed || which.has(each.name),
           "a descriptor of kind " + std::to_string(which.what) + " without attribute " + std::to_string(each.name));
  if (which.what == tensor)
    check_tensor(which);
  if (which.what == pointwise_operation || which.what == matmul_operation || which.what == reduction_operation ||
      which.what == reshape_operation)
    check_operation(which);
  if (which.what == graph)
    check_graph(which);
  if (which.what == variant_pack)
    demand(which.all(pack_ids).size() == which.all(pack_addresses).size(), "a pack with more ids than addresses");
  which.finished = true;
}

const descriptor& graph_of(const descriptor& made_plan) {
  return made_plan.to(plan_configuration).to(heuristic_graph);
}

/// The fused kernels keep one of the matrices of scores in bfloat16 where they have a backward pass to do.
std::int64_t workspace_of(const descriptor& whole) {
  if (is_told("greedy"))
    return std::int64_t{1} << 30;
  std::int64_t most = 0;
  for (const auto& operation : whole.connected.at(graph_operations))
    if (operation->what == reshape_operation)
      most = std::max(most, span_of(operation->to(reshape_y)));
  return most * static_cast<std::int64_t>(sizeof(bfloat16)) + 256;
}

bool is_refused(const descriptor& whole) {
  int results = 0;
  for (const auto& operation : whole.connected.at(graph_operations)) {
    const auto& y = *tensors_of(*operation).back();
    results += y.one(element) == bf16 && !y.is(is_virtual);
  }
  return is_told("refuses") || (is_told("refuses-backward") && results > 1);
}

// -- doing what a graph says -------------------------------------------------------------

using index = std::vector<std::int64_t>;

std::int64_t offset_of(const descriptor& t, const index& at) {
  std::int64_t offset = 0;
  for (std::size_t i = 0; i < 4; ++i)
    offset += std::min(at[i], t.all(extents)[i] - 1) * t.all(strides)[i];  // extents of 1 are stretched
  return offset;
}

template <class Body>
void for_each_index(const index& end, Body body) {
  index at(4);
  for (at[0] = 0; at[0] < end[0]; ++at[0])
    for (at[1] = 0; at[1] < end[1]; ++at[1])
      for (at[2] = 0; at[2] < end[2]; ++at[2])
        for (at[3] = 0; at[3] < end[3]; ++at[3])
          body(at);
}

class run {
 public:
  explicit run(std::map<std::int64_t, void*> memory) : memory_(std::move(memory)) {}

  void operator()(const descriptor& o) {
    const auto& y = *tensors_of(o).back();
    const auto end = y.all(extents);
    if (o.what == pointwise_operation)
      for_each_index(end, [&](const index& at) { write(y, offset_of(y, at), point(o, at)); });
    if (o.what == matmul_operation) {
      const auto &a = o.to(matmul_a), &b = o.to(matmul_b);
      const auto share = a.all(extents)[1] / b.all(extents)[1];
      for_each_index(end, [&](const index& at) {
        double sum = 0.0;
        for (std::int64_t k = 0; k < a.all(extents)[3]; ++k)
          sum += double(read(a, offset_of(a, {at[0], at[1], at[2], k}))) *
                 double(read(b, offset_of(b, {at[0], at[1] / share, k, at[3]})));
        write(y, offset_of(y, at), static_cast<float>(sum));
      });
    }
    if (o.what == reduction_operation) {
      const auto& x = o.to(reduction_x);
      index share(4);
      for (std::size_t i = 0; i < 4; ++i)
        share[i] = x.all(extents)[i] / end[i];
      const bool adds = o.to(reduction_description).one(reduction_operator) == 0;
      for_each_index(end, [&](const index& at) {
        double result = adds ? 0.0 : -std::numeric_limits<double>::infinity();
        for_each_index(share, [&](const index& part) {
          index from(4);
          for (std::size_t i = 0; i < 4; ++i)
            from[i] = at[i] * share[i] + part[i];
          const double each = read(x, offset_of(x, from));
          result = adds ? result + each : std::max(result, each);
        });
        write(y, offset_of(y, at), static_cast<float>(result));
      });
    }
    if (o.what == reshape_operation)
      for_each_index(end, [&](const index& at) { write(y, offset_of(y, at), read(o.to(reshape_x), offset_of(y, at))); });
  }

 private:
  float point(const descriptor& o, const index& at) {
    const auto& how = o.to(pw_description);
    const auto get = [&](int name) { return read(o.to(name), offset_of(o.to(name), at)); };
    switch (how.one(mode)) {
      case 0: return get(pw_x) + get(pw_b);
      case 1: return get(pw_x) * get(pw_b);
      case 6: return get(pw_x) / get(pw_b);
      case 9: return get(pw_x) - get(pw_b);
      case 13: return std::exp(get(pw_x));
      case 15: return std::log(get(pw_x));
      case 303: return get(pw_x) >= get(pw_b) ? 1.0f : 0.0f;
      case 501: return static_cast<float>(at[static_cast<std::size_t>(how.one(axis))]);
      case 601: return get(pw_t) != 0.0f ? get(pw_x) : get(pw_b);
      default: return std::numeric_limits<float>::quiet_NaN();
    }
  }

  float read(const descriptor& t, std::int64_t offset) {
    if (t.is(is_virtual))
      return between_.at(t.one(unique_id))[static_cast<std::size_t>(offset)];
    const void* const from = memory_.at(t.one(unique_id));
    return t.one(element) == bf16 ? static_cast<float>(static_cast<const bfloat16*>(from)[offset])
                                  : static_cast<const float*>(from)[offset];
  }

  void write(const descriptor& t, std::int64_t offset, float value) {
    const float rounded = t.one(element) == bf16 ? static_cast<float>(bfloat16(value)) : value;
    if (t.is(is_virtual)) {
      auto& all = between_[t.one(unique_id)];
      all.resize(static_cast<std::size_t>(span_of(t)), std::numeric_limits<float>::quiet_NaN());
      all[static_cast<std::size_t>(offset)] = rounded;
    } else if (void* const to = memory_.at(t.one(unique_id)); t.one(element) == bf16) {
      static_cast<bfloat16*>(to)[offset] = bfloat16(value);
    } else {
      static_cast<float*>(to)[offset] = value;
    }
  }

  std::map<std::int64_t, void*> memory_;
  std::map<std::int64_t, std::vector<float>> between_;
};

void execute(const context& by, const std::shared_ptr<descriptor>& made, const descriptor& pack) {
  demand(made->finished && made->what == plan && pack.finished, "a plan or a pack that is not finished");
  if (is_told("breaks"))
    refuse(execution_failed, "a stand-in breaks");
  std::map<std::int64_t, void*> memory;
  for (std::size_t i = 0; i < pack.all(pack_ids).size(); ++i)
    demand(memory.emplace(pack.all(pack_ids)[i], reinterpret_cast<void*>(pack.all(pack_addresses)[i])).second,
           "an id that is given twice");
  auto scalars = std::make_shared<std::map<std::int64_t, float>>();  // read now, as the caller may drop them
  std::set<std::int64_t> wanted;
  for (const auto& operation : graph_of(*made).connected.at(graph_operations))
    for (const auto* each : tensors_of(*operation)) {
      const auto id = each->one(unique_id);
      if (each->is(is_virtual) || !wanted.insert(id).second)
        continue;
      demand(memory.contains(id), "a tensor without memory");
      if (each->is(is_by_value)) {
        memory[id] = &scalars->emplace(id, *static_cast<const float*>(memory[id])).first->second;
        continue;
      }
      demand(reinterpret_cast<std::uintptr_t>(memory[id]) % static_cast<std::uintptr_t>(each->one(alignment)) == 0,
             "memory that is not aligned as the tensor says");
      enqueue(by.stream, bytes_of(*each), memory[id], [] {});
    }
  demand(wanted.size() == memory.size(), "memory for what is no tensor of the graph");
  auto* const workspace = reinterpret_cast<void*>(pack.one(pack_workspace));
  const auto workspace_bytes = static_cast<std::size_t>(workspace_of(graph_of(*made)));
  enqueue(by.stream, workspace_bytes, workspace, [made, memory, scalars, workspace, workspace_bytes] {
    std::memset(workspace, 0xff, workspace_bytes);
    run each(memory);
    for (const auto& operation : graph_of(*made).connected.at(graph_operations))
      each(*operation);
  });
}

}  // namespace

extern "C" {

/// Graphs so far, for tests that want to know who computes.
long emulated_cudnn_computed = 0;

std::size_t cudnnGetVersion() { return is_told("old") ? 91501 : 91900; }

const char* cudnnGetErrorString(int code) {
  switch (code) {
    case success: return "CUDNN_STATUS_SUCCESS";
    case not_finalized: return "CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED";
    case not_supported: return "CUDNN_STATUS_NOT_SUPPORTED";
    case execution_failed: return "CUDNN_STATUS_EXECUTION_FAILED";
    default: return "CUDNN_STATUS_BAD_PARAM";
  }
}

void cudnnGetLastErrorString(char* text, std::size_t room) {
  std::strncpy(text, last_error.c_str(), room - 1);
  text[room - 1] = 0;
}

int cudnnCreate(context** made) {
  *made = new context;
  return success;
}

int cudnnDestroy(context* which) {
  delete which;
  return success;
}

int cudnnSetStream(context* of, cudaStream_t stream) {
  of->stream = stream;
  return success;
}

int cudnnBackendCreateDescriptor(int what, handle_to* made) {
  return answer([&] {
    if (!rules.contains(what))
      refuse(not_supported, "descriptors of kind " + std::to_string(what));
    *made = new std::shared_ptr<descriptor>(std::make_shared<descriptor>(what));
  });
}

int cudnnBackendDestroyDescriptor(handle_to which) {
  delete which;
  return success;
}

int cudnnBackendSetAttribute(handle_to of, int name, int each, std::int64_t count, const void* values) {
  return answer([&] { set(**of, name, each, count, values); });
}

int cudnnBackendGetAttribute(handle_to of, int name, int each, std::int64_t room, std::int64_t* count, void* values) {
  return answer([&] {
    demand((*of)->finished && room >= 1, "a descriptor that is not finished");
    if (name == heuristic_results && each == a_descriptor && (*of)->what == heuristic) {
      const auto& whole = (*of)->to(heuristic_graph);
      *count = is_refused(whole) ? 0 : 1;
      if (*count == 1)
        (**static_cast<handle_to*>(values))->connected[heuristic_graph] = (*of)->connected.at(heuristic_graph);
    } else if (name == plan_workspace && each == an_int64 && (*of)->what == plan) {
      *count = 1;
      *static_cast<std::int64_t*>(values) = workspace_of(graph_of(**of));
    } else {
      refuse(not_supported, "asking for attribute " + std::to_string(name));
    }
  });
}

int cudnnBackendFinalize(handle_to which) {
  return answer([&] { finish(**which); });
}

int cudnnBackendExecute(context* by, handle_to made, handle_to pack) {
  return answer([&] {
    execute(*by, *made, **pack);
    ++emulated_cudnn_computed;
  });
}
}
