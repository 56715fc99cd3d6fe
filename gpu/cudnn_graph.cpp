#include "gpu/cudnn_graph.hpp"

#include <cassert>

namespace troupe::gpu {

using attribute = cudnn::attribute;
using type = cudnn::type;
using kind = cudnn::kind;

cudnn_layout cudnn_layout::dense(const std::array<std::int64_t, 4>& extents) {
  cudnn_layout made{extents, {}};
  std::int64_t stride = 1;
  for (auto i = extents.size(); i-- > 0; stride *= extents[i])
    made.strides[i] = stride;
  return made;
}

cudnn_layout cudnn_layout::transposed() const {
  cudnn_layout made = *this;
  std::swap(made.extents[2], made.extents[3]);
  std::swap(made.strides[2], made.strides[3]);
  return made;
}

// -- descriptors --------------------------------------------------------------------

cudnn_graph::owned cudnn_graph::make(kind what) const {
  cudnn::descriptor made = nullptr;
  library_->check(library_->create_descriptor(what, &made), "making a descriptor");
  return owned(made, {library_.get()});
}

template <class T>
void cudnn_graph::set(const owned& of, attribute name, type each, std::span<const T> values) const {
  library_->check(library_->set_attribute(of.get(), name, each, static_cast<std::int64_t>(values.size()), values.data()),
                  "setting an attribute");
}

template <class T>
void cudnn_graph::set(const owned& of, attribute name, type each, const T& value) const {
  set(of, name, each, std::span<const T>(&value, 1));
}

void cudnn_graph::connect(const owned& of, attribute name, cudnn::descriptor to) const {
  set(of, name, type::descriptor, to);
}

cudnn::descriptor cudnn_graph::keep(owned finished) {
  library_->check(library_->finalize(finished.get()), "finishing a descriptor");
  kept_.push_back(std::move(finished));
  return kept_.back().get();
}

// -- tensors ------------------------------------------------------------------------

cudnn_graph::value cudnn_graph::add_tensor(std::int64_t id, cudnn::element element, const cudnn_layout& where,
                                           const attribute* as) {
  constexpr std::int64_t alignment = 16;
  constexpr bool yes = true;
  auto made = make(kind::tensor);
  set(made, attribute::tensor_type, type::element, element);
  set(made, attribute::tensor_extents, type::int64, std::span<const std::int64_t>(where.extents));
  set(made, attribute::tensor_strides, type::int64, std::span<const std::int64_t>(where.strides));
  set(made, attribute::tensor_id, type::int64, id);
  set(made, attribute::tensor_alignment, type::int64, alignment);
  if (as)
    set(made, *as, type::boolean, yes);
  return {keep(std::move(made)), element};
}

cudnn_graph::value cudnn_graph::memory(std::int64_t id, cudnn::element element, const cudnn_layout& where) {
  return add_tensor(id, element, where, nullptr);
}

cudnn_graph::value cudnn_graph::scalar(std::int64_t id) {
  constexpr auto as = attribute::tensor_is_by_value;
  return add_tensor(id, cudnn::element::float32, cudnn_layout::dense({1, 1, 1, 1}), &as);
}

cudnn_graph::value cudnn_graph::between(cudnn::element element, const cudnn_layout& where) {
  constexpr auto as = attribute::tensor_is_virtual;
  return add_tensor(next_id_++, element, where, &as);
}

// -- operations ---------------------------------------------------------------------

cudnn_graph::value cudnn_graph::add_pointwise(cudnn::pointwise how, std::initializer_list<value> of, value into,
                                              const std::int64_t* axis) {
  const auto precision = into.type == cudnn::element::boolean ? cudnn::element::boolean : cudnn::element::float32;
  auto description = make(kind::pointwise);
  set(description, attribute::pointwise_mode, type::pointwise, how);
  set(description, attribute::pointwise_precision, type::element, precision);
  if (axis)
    set(description, attribute::pointwise_axis, type::int64, *axis);
  auto made = make(kind::pointwise_operation);
  connect(made, attribute::pointwise_description, keep(std::move(description)));
  constexpr std::array ports{attribute::pointwise_x, attribute::pointwise_b, attribute::pointwise_condition};
  assert(of.size() <= ports.size());
  for (std::size_t i = 0; i < of.size(); ++i)
    connect(made, ports[i], of.begin()[i].which);
  connect(made, attribute::pointwise_y, into.which);
  add_operation(std::move(made));
  return into;
}

cudnn_graph::value cudnn_graph::pointwise(cudnn::pointwise how, std::initializer_list<value> of, value into) {
  return add_pointwise(how, of, into, nullptr);
}

cudnn_graph::value cudnn_graph::index(std::int64_t axis, value like, value into) {
  return add_pointwise(cudnn::pointwise::index, {like}, into, &axis);
}

cudnn_graph::value cudnn_graph::matmul(value a, value b, value into) {
  auto description = make(kind::matmul);
  set(description, attribute::matmul_precision, type::element, cudnn::element::float32);
  auto made = make(kind::matmul_operation);
  connect(made, attribute::matmul_description, keep(std::move(description)));
  connect(made, attribute::matmul_a, a.which);
  connect(made, attribute::matmul_b, b.which);
  connect(made, attribute::matmul_c, into.which);
  add_operation(std::move(made));
  return into;
}

cudnn_graph::value cudnn_graph::reduce(cudnn::reduction how, value of, value into) {
  auto description = make(kind::reduction);
  set(description, attribute::reduction_operator, type::reduction, how);
  set(description, attribute::reduction_precision, type::element, cudnn::element::float32);
  auto made = make(kind::reduction_operation);
  connect(made, attribute::reduction_description, keep(std::move(description)));
  connect(made, attribute::reduction_x, of.which);
  connect(made, attribute::reduction_y, into.which);
  add_operation(std::move(made));
  return into;
}

cudnn_graph::value cudnn_graph::reshape(value of, value into) {
  auto made = make(kind::reshape_operation);
  connect(made, attribute::reshape_x, of.which);
  connect(made, attribute::reshape_y, into.which);
  add_operation(std::move(made));
  return into;
}

// -- the kernel ---------------------------------------------------------------------

void cudnn_graph::finish() {
  auto graph = make(kind::graph);
  set(graph, attribute::graph_handle, type::handle, by_);
  set(graph, attribute::graph_operations, type::descriptor, std::span<const cudnn::descriptor>(operations_));
  auto heuristic = make(kind::heuristic);
  connect(heuristic, attribute::heuristic_graph, keep(std::move(graph)));
  set(heuristic, attribute::heuristic_mode, type::heuristic, cudnn::heuristic::best);
  const auto advice = keep(std::move(heuristic));
  auto configuration = make(kind::engine_configuration);
  auto first = configuration.get();
  std::int64_t count = 0;
  library_->check(library_->get_attribute(advice, attribute::heuristic_results, type::descriptor, 1, &count, &first),
                  "looking for a kernel");
  if (count == 0)
    throw cudnn_refusal(library_->name() + ": it has no kernel for this");
  auto plan = make(kind::plan);
  connect(plan, attribute::plan_configuration, configuration.get());
  kept_.push_back(std::move(configuration));
  plan_ = keep(std::move(plan));
  library_->check(library_->get_attribute(plan_, attribute::plan_workspace_bytes, type::int64, 1, &count, &workspace_bytes_),
                  "asking for the size of the workspace");
}

void cudnn_graph::execute(std::initializer_list<std::pair<std::int64_t, void*>> memory, void* workspace) const {
  std::vector<std::int64_t> ids;
  std::vector<void*> addresses;
  for (const auto& [id, address] : memory) {
    ids.push_back(id);
    addresses.push_back(address);
  }
  const auto pack = make(kind::variant_pack);
  set(pack, attribute::pack_ids, type::int64, std::span<const std::int64_t>(ids));
  set(pack, attribute::pack_addresses, type::address, std::span<void* const>(addresses));
  set(pack, attribute::pack_workspace, type::address, workspace);
  library_->check(library_->finalize(pack.get()), "finishing a descriptor");
  library_->check(library_->execute(by_, plan_, pack.get()), "enqueueing a kernel");
}

}  // namespace troupe::gpu
