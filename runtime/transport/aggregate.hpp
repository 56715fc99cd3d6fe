#pragma once

/// The fields of a plain struct, so that a message need not list them twice. A message is an aggregate whose
/// declaration is its wire format; nodes of one job run the same build. The technique is Antony Polukhin's
/// (Boost.PFR): try how many initialisers the struct takes, then bind that many names.

#include <cstddef>
#include <type_traits>
#include <utility>

namespace troupe {

namespace detail {

struct any_field {
  template <class T>
  operator T() const;
};

template <class T, std::size_t... I>
constexpr bool takes_fields(std::index_sequence<I...>) {
  return requires { T{(static_cast<void>(I), any_field{})...}; };
}

inline constexpr std::size_t fields_max = 12;

template <class T, std::size_t N = fields_max>
constexpr std::size_t count_fields() {
  if constexpr (takes_fields<T>(std::make_index_sequence<N>{}))
    return N;
  else
    return count_fields<T, N - 1>();
}

}  // namespace detail

/// Calls f(field...) with all fields of `x`, in order of declaration.
template <class T, class F>
void with_fields(T& x, F&& f) {
  constexpr auto count = detail::count_fields<std::remove_const_t<T>>();
  static_assert(!detail::takes_fields<std::remove_const_t<T>>(std::make_index_sequence<detail::fields_max + 1>{}),
                "a message has at most twelve fields; group some in a struct");
  if constexpr (count == 0) {
    f();
  } else if constexpr (count == 1) {
    auto& [a] = x;
    f(a);
  } else if constexpr (count == 2) {
    auto& [a, b] = x;
    f(a, b);
  } else if constexpr (count == 3) {
    auto& [a, b, c] = x;
    f(a, b, c);
  } else if constexpr (count == 4) {
    auto& [a, b, c, d] = x;
    f(a, b, c, d);
  } else if constexpr (count == 5) {
    auto& [a, b, c, d, e] = x;
    f(a, b, c, d, e);
  } else if constexpr (count == 6) {
    auto& [a, b, c, d, e, g] = x;
    f(a, b, c, d, e, g);
  } else if constexpr (count == 7) {
    auto& [a, b, c, d, e, g, h] = x;
    f(a, b, c, d, e, g, h);
  } else if constexpr (count == 8) {
    auto& [a, b, c, d, e, g, h, i] = x;
    f(a, b, c, d, e, g, h, i);
  } else if constexpr (count == 9) {
    auto& [a, b, c, d, e, g, h, i, j] = x;
    f(a, b, c, d, e, g, h, i, j);
  } else if constexpr (count == 10) {
    auto& [a, b, c, d, e, g, h, i, j, k] = x;
    f(a, b, c, d, e, g, h, i, j, k);
  } else if constexpr (count == 11) {
    auto& [a, b, c, d, e, g, h, i, j, k, l] = x;
    f(a, b, c, d, e, g, h, i, j, k, l);
  } else {
    auto& [a, b, c, d, e, g, h, i, j, k, l, m] = x;
    f(a, b, c, d, e, g, h, i, j, k, l, m);
  }
}

}  // namespace troupe
