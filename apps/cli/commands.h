// The subcommands of `precis`.  Each function adds one to `app`; when the command line selects it,
// it runs and leaves its exit code in `exit_code`.
#pragma once

#include <CLI/CLI.hpp>

namespace precis::cli {

void add_ask(CLI::App& app, int& exit_code);
void add_bench(CLI::App& app, int& exit_code);
void add_chat(CLI::App& app, int& exit_code);
void add_encode(CLI::App& app, int& exit_code);
void add_eval(CLI::App& app, int& exit_code);
void add_inspect(CLI::App& app, int& exit_code);
void add_plan(CLI::App& app, int& exit_code);
void add_run(CLI::App& app, int& exit_code);
void add_synth(CLI::App& app, int& exit_code);
void add_tokenize(CLI::App& app, int& exit_code);
void add_verify(CLI::App& app, int& exit_code);
void add_version(CLI::App& app, int& exit_code);

}  // namespace precis::cli
