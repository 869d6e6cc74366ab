// precis: long-context language models of the DeepSeek-V4 family on one machine.
//
// This file owns the command line as a whole; every subcommand has a file of its own.
#include <algorithm>
#include <cstdio>
#include <string_view>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/terminal.h"

namespace precis::cli {
namespace {

int run(int argc, char** argv) {
  CLI::App app(
      "precis runs DeepSeek-V4 checkpoints on one machine.\n"
      "Without a model of your own, try: precis ask");
  app.name("precis");
  app.require_subcommand(0, 1);
  app.footer(std::string("\n") + kExitCodeHelp +
             "\nEvery command explains itself: precis COMMAND --help");

  int exit_code = kOk;
  add_ask(app, exit_code);
  add_run(app, exit_code);
  add_chat(app, exit_code);
  add_inspect(app, exit_code);
  add_tokenize(app, exit_code);
  add_encode(app, exit_code);
  add_verify(app, exit_code);
  add_plan(app, exit_code);
  add_bench(app, exit_code);
  add_eval(app, exit_code);
  add_synth(app, exit_code);
  add_version(app, exit_code);

  catch_interrupts();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help
    const bool json = std::any_of(
        argv, argv + argc, [](const char* arg) { return std::string_view(arg) == "--json"; });
    return report(Error{ErrorCode::kInvalidArgument, e.what()},
                  json ? OutputFormat::kJson : OutputFormat::kText);
  }
  if (app.get_subcommands().empty()) {
    fmt::print(stderr, "{}", app.help());
    return kUsage;
  }
  return exit_code;
}

}  // namespace
}  // namespace precis::cli

int main(int argc, char** argv) {
  const int exit_code = precis::cli::run(argc, argv);
  // Output that did not arrive must not look like success.
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    fmt::print(stderr, "precis: standard output cannot be written\n");
    return exit_code == precis::cli::kOk ? precis::cli::kIoFailed : exit_code;
  }
  return exit_code;
}
