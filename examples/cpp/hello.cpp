/* c++ -std=c++17 examples/cpp/hello.cpp $(pkg-config --cflags --libs slotkv) -o hello && ./hello [URI]
 *
 * Put, get and delete, and what they answer. */

#include "example.hpp"

int main(int count, char **arguments) {
    slotkv::Client client(uri_of(count, arguments));
    (void)client.remove("hello");

    EXPECT(client.put("hello", "world").created());
    EXPECT(client.put("hello", "slotkv").updated());

    EXPECT(client.get("hello").value() == "slotkv");
    EXPECT(!client.get("nobody").text());

    // Any bytes will do, as a key and as a value; a value may be empty.
    using namespace std::string_view_literals;
    (void)client.put("\0\xff key"sv, "");
    EXPECT(client.get("\0\xff key"sv).text() == "");
    (void)client.remove("\0\xff key"sv);

    EXPECT(client.remove("hello").deleted());
    EXPECT(!client.remove("hello").deleted());

    std::puts("hello: created, updated, read, deleted");
}
