import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.api.TableResult;

/**
 * Runs statements in a Flink of this process and ends with the last of them.
 *
 * <p>java RunSql.java FILE KEY=VALUE...: statements end with a line ";", the others are Flink's settings.
 */
public class RunSql {
  public static void main(String[] arguments) throws Exception {
    Configuration settings = new Configuration();
    for (int i = 1; i < arguments.length; i++) {
      String[] pair = arguments[i].split("=", 2);
      settings.setString(pair[0], pair[1]);
    }
    TableEnvironment tables =
        TableEnvironment.create(
            EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
    for (String statement : Files.readString(Path.of(arguments[0])).split("\n;\n")) {
      if (!statement.isBlank()) {
        TableResult result = tables.executeSql(statement);
        if (statement.startsWith("INSERT")) {
          result.await();
          System.out.println("job ended " + System.currentTimeMillis());
        }
      }
    }
  }
}
