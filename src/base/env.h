// The environment variables that precis reads; env.cc holds the only getenv.
#pragma once

#include <optional>
#include <string>

namespace precis {

/// PRECIS_FORCE_ISA: the instruction set the CPU backend must use ("avx512", "avx2", "baseline").
std::optional<std::string> env_force_isa();

/// PRECIS_MODEL: the checkpoint directory to use where no --model is given.
std::optional<std::string> env_model();

/// XDG_CACHE_HOME, else $HOME/.cache: where measurements of this machine are kept.
std::optional<std::string> env_cache_directory();

/// A variable that the user names, such as the one with the key of a server; none if not set.
std::optional<std::string> env_named(const std::string& name);

}  // namespace precis
