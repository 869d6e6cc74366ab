// PRECIS_CHECK: a bug in this program ends it with file, line and values.
//
// Never reachable from input: what comes from outside is refused with an Error (precis/status.h).
// One condition per check, so that the message says which one failed.
#pragma once

#include <sstream>
#include <string>

namespace precis {

[[noreturn]] void check_failed(const char* file, int line, const char* expr,
                               const std::string& values);

namespace detail {
template <typename A, typename B>
std::string check_values(const A& a, const B& b) {
  std::ostringstream out;
  out << a << " vs " << b;
  return out.str();
}
}  // namespace detail

}  // namespace precis

#define PRECIS_CHECK(cond)                                   \
  do {                                                       \
    if (!(cond)) [[unlikely]]                                \
      ::precis::check_failed(__FILE__, __LINE__, #cond, ""); \
  } while (false)

#define PRECIS_CHECK_OP(op, a, b)                                                             \
  do {                                                                                        \
    const auto& precis_check_a = (a);                                                         \
    const auto& precis_check_b = (b);                                                         \
    if (!(precis_check_a op precis_check_b)) [[unlikely]]                                     \
      ::precis::check_failed(__FILE__, __LINE__, #a " " #op " " #b,                           \
                             ::precis::detail::check_values(precis_check_a, precis_check_b)); \
  } while (false)

#define PRECIS_CHECK_EQ(a, b) PRECIS_CHECK_OP(==, a, b)
#define PRECIS_CHECK_LE(a, b) PRECIS_CHECK_OP(<=, a, b)
#define PRECIS_CHECK_LT(a, b) PRECIS_CHECK_OP(<, a, b)

#ifdef NDEBUG
#define PRECIS_DCHECK(cond) \
  do {                      \
  } while (false)
#else
#define PRECIS_DCHECK(cond) PRECIS_CHECK(cond)
#endif
