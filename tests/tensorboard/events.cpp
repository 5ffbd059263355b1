// Writes event files with numbers that run.py knows too: tensorboard_events FOLDER VALUES.npy
#include <cmath>
#include <cstdio>
#include <string>

#include "tandem/tandem.h"

using namespace tandem;

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    SummaryWriter log(argv[1]);
    for (int64_t step = 0; step < 1000; ++step) {
      log.add_scalar("loss/train", std::exp(-double(step) / 100), step);
      if (step % 100 == 0)
        log.add_scalar("loss/\u00e9tat", double(step) * 0.1, step * 1'000'000'000);
    }
    log.add_scalar("extreme", INFINITY, 0);
    log.add_scalar("extreme", -1e30, 1);
    log.add_scalar("extreme", NAN, 2);
    for (int64_t step = 0; step < 5; ++step)
      log.add_scalars("group/both", {{"one", double(step)}, {"two", 2.0 * double(step)}}, step);
    log.add_histogram("weights", load_npy(argv[2]), 7);
    log.add_text("note", "**bold** \u20ac, two\nlines", 3);
    nn::Sequential net(nn::Linear(4, 5), nn::ReLU(), nn::Linear(5, 3));
    const auto graph = Graph::make();
    {
      const GraphScope scope(graph);
      const Tensor x = placeholder("x", {-1, 4});
      graph->output("scores", softmax(net(x), 1));
    }
    add_graph(log, *graph);
    log.close();
    std::printf("%s\n", log.path().c_str());
  } catch (const Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
  return 0;
}
