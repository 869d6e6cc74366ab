#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace precis {

void check_failed(const char* file, int line, const char* expr, const std::string& values) {
  std::fprintf(stderr, "precis: internal error at %s:%d: %s%s%s\n", file, line, expr,
               values.empty() ? "" : ": ", values.c_str());
  std::abort();
}

}  // namespace precis
