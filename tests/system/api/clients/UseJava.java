// Uses the client that openapi-generator makes for Java as `use_python.py` uses that for Python.
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import hub.ApiClient;
import hub.ApiException;
import hub.api.CasesApi;
import hub.api.EventsApi;
import hub.api.MessagesApi;
import hub.api.SubmissionsApi;
import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

public class UseJava {
  interface Call { Object run() throws Exception; }

  static Object waitFor(Call ask) throws Exception {
    long end = System.nanoTime() + 90_000_000_000L;
    while (System.nanoTime() < end) {
      Object answer = ask.run();
      if (answer != null) return answer;
      Thread.sleep(300);
    }
    throw new IllegalStateException("it did not happen within 90 seconds");
  }

  static Map<String, Object> describeRefusal(Call call) throws Exception {
    Map<String, Object> told = new LinkedHashMap<>();
    told.put("status", 200);
    try {
      call.run();
    } catch (ApiException refused) {
      JsonNode problem = new ObjectMapper().readTree(refused.getResponseBody());
      told.put("status", refused.getCode());
      told.put("id", problem.path("id").asText());
    }
    return told;
  }

  static ApiClient connect(String url, String token) {
    ApiClient client = new ApiClient();
    client.updateBaseUri(url);
    client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + token));
    return client;
  }

  public static void main(String[] words) throws Exception {
    String url = words[0], token = words[1], folder = words[2], wrong = words[3], key = words[4];
    ApiClient client = connect(url, token);
    SubmissionsApi submissions = new SubmissionsApi(client);
    MessagesApi messages = new MessagesApi(client);
    CasesApi cases = new CasesApi(client);
    EventsApi events = new EventsApi(client);
    Map<String, Object> report = new LinkedHashMap<>();
    List<Object> filed = new ArrayList<>();
    for (int turn = 0; turn < 2; turn++) {
      var filing = submissions.fileSubmission(new File(words[5]), key, List.of());
      filed.add(List.of(filing.getMessageId(), filing.getNew()));
    }
    report.put("filed", filed);
    report.put("conflict", describeRefusal(() -> submissions.fileSubmission(new File(words[6]), key, List.of())));
    String number = (String) waitFor(() -> messages.getMessage(key, null).getCase());
    report.put("state", waitFor(() -> {
      String state = cases.getCase(number, null).getState().getValue();
      return state.equals("CLOSED") ? state : null;
    }));
    Map<String, File> files = new LinkedHashMap<>();
    files.put("result", cases.getResult(number, null));
    files.put("bundle", cases.getEvidenceBundle(number, null));
    files.put("document", messages.getDocument(key, null));
    files.put("receipt", messages.getReceipt(key, null));
    for (Map.Entry<String, File> file : files.entrySet()) {
      Files.copy(file.getValue().toPath(), Path.of(folder, file.getKey()), StandardCopyOption.REPLACE_EXISTING);
    }
    report.put("case", number);
    List<List<String>> pages = new ArrayList<>();
    for (String cursor = null; ; ) {
      var page = cases.listCases(null, null, null, null, null, null, cursor, 1, null);
      pages.add(page.getCases().stream().map(row -> row.getNumber()).collect(Collectors.toList()));
      cursor = page.getNext();
      if (cursor == null) break;
    }
    report.put("cases", pages);
    List<List<String>> turns = new ArrayList<>();
    for (String after = null; ; ) {
      var page = events.listEvents(after, 2, null);
      turns.add(page.getEvents().stream().map(event -> event.getId()).collect(Collectors.toList()));
      after = page.getNext();
      if (after == null || page.getEvents().isEmpty()) break;
    }
    report.put("events", turns);
    report.put("absent", describeRefusal(() -> cases.getCase("SW260000009X", null)));
    report.put("stranger", describeRefusal(() -> new CasesApi(connect(url, wrong)).getCase(number, null)));
    System.out.println(new ObjectMapper().writeValueAsString(report));
  }
}
