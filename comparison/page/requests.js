// Talking to the server. An answer is sent until it is known to be written: sent twice, it counts once.
const AGAIN_MS = 1500;

const address = new URL(location.href);
const given = address.searchParams.get("token");
if (given) {
  sessionStorage.setItem("token", given);
  address.searchParams.delete("token"); // the address bar can be photographed
  history.replaceState(null, "", address);
}
const token = given ?? sessionStorage.getItem("token") ?? "";
const headers = token ? { "X-Session-Token": token } : {};

export class Refusal extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

async function answered(response) {
  const content = await response.json();
  if (!response.ok) throw new Refusal(content.error, content.message);
  return content;
}

// onTrouble(true) while the server does not answer, onTrouble(false) once it does.
export async function post(path, body, onTrouble) {
  for (;;) {
    try {
      const response = await fetch(path, {
        method: "POST", headers: { "Content-Type": "application/json", ...headers },
        body: JSON.stringify(body),
      });
      if (response.status < 500) {
        onTrouble(false);
        return await answered(response);
      }
    } catch (error) {
      if (error instanceof Refusal) throw error;
    }
    onTrouble(true);
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

export async function picture(path) {
  const response = await fetch(path, { headers });
  if (!response.ok) return await answered(response);
  return await response.blob();
}
