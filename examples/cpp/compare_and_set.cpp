/* c++ -std=c++17 examples/cpp/compare_and_set.cpp $(pkg-config --cflags --libs slotkv) -pthread -o compare_and_set && ./compare_and_set [URI]
 *
 * Changing a value that others change at the same time: read it with its version, write it back only if the version still
 * stands. An unmet condition is a result, not an exception. */

#include "example.hpp"

#include <thread>
#include <vector>

static constexpr int THREADS = 8;
static constexpr int STEPS = 50;

/* Adds 1 so many times; counts how often somebody else was faster. */
static void add_often(slotkv::Client &client, int &repeated) {
    for (int step = 0; step < STEPS; step++) {
        for (;;) {
            slotkv::Result entry = client.get("sum");
            std::string sum = std::to_string(std::stoi(entry.text().value()) + 1);
            if (!client.compare_and_set("sum", sum, entry.version()).unmet()) {
                break;
            }
            repeated++;
        }
    }
}

int main(int count, char **arguments) {
    // One client serves any number of threads.
    slotkv::Client client = connected(count, arguments, "example-cas");
    (void)client.put("sum", "0");
    int repeated[THREADS] = {}, repetitions = 0;
    std::vector<std::thread> threads;
    for (int &own : repeated) {
        threads.emplace_back([&client, &own] { add_often(client, own); });
    }
    for (int number = 0; number < THREADS; number++) {
        threads[static_cast<std::size_t>(number)].join();
        repetitions += repeated[number];
    }
    EXPECT(client.get("sum").text() == std::to_string(THREADS * STEPS));
    (void)client.remove("sum");

    // For a plain counter there is a shorter way.
    EXPECT(client.increment("counter", 41).number() == 41);
    EXPECT(client.increment("counter").number() == 42);
    (void)client.remove("counter");

    std::printf("compare_and_set: %d additions, %d repeated\n", THREADS * STEPS, repetitions);
}
