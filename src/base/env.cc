#include "base/env.h"

#include <cstdlib>

namespace precis {
namespace {

std::optional<std::string> get(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

}  // namespace

std::optional<std::string> env_force_isa() {
  return get("PRECIS_FORCE_ISA");
}
std::optional<std::string> env_model() {
  return get("PRECIS_MODEL");
}

std::optional<std::string> env_cache_directory() {
  if (auto cache = get("XDG_CACHE_HOME")) return cache;
  if (const auto home = get("HOME")) return *home + "/.cache";
  return std::nullopt;
}

std::optional<std::string> env_named(const std::string& name) {
  return get(name.c_str());
}

}  // namespace precis
